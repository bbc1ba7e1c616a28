package awsclient_test

import (
	"path/filepath"
	"strings"
	"testing"

	"example.com/market-data-pipeline/scripts/internal/awsclient"
)

func TestQueueRegion(t *testing.T) {
	for url, want := range map[string]string{
		"https://sqs.eu-west-1.amazonaws.com/123456789012/q.fifo":                "eu-west-1",
		"https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/q":            "us-gov-west-1",
		"https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q":                 "cn-north-1",
		"https://sqs.ap-southeast-2.api.aws/123456789012/q":                      "ap-southeast-2",
		"https://vpce-0a1b-2c3d.sqs.us-east-1.vpce.amazonaws.com/123456789012/q": "us-east-1",
		"https://eu-central-1.queue.amazonaws.com/123456789012/q":                "eu-central-1",
		"https://queue.amazonaws.com/123456789012/q":                             "",
		"http://127.0.0.1:5000/123456789012/q":                                   "",
		"https://example.com/sqs.eu-west-1.amazonaws.com/q":                      "",
		"::": "",
		"":   "",
	} {
		if got := awsclient.QueueRegion(url); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

// bare takes everything from the environment that the SDK would find credentials or a region in.
func bare(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "absent"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "absent"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestLoad(t *testing.T) {
	bare(t)
	if _, err := awsclient.Load(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("without a region: %v, want the remedy", err)
	}
	if _, err := awsclient.Load(t.Context(), "eu-west-1"); err == nil || !strings.Contains(err.Error(), "AWS_PROFILE") {
		t.Errorf("without credentials: %v, want the remedy", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_REGION", "us-east-2")
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	for region, want := range map[string]string{"": "us-east-2", "eu-west-1": "eu-west-1"} {
		cfg, err := awsclient.Load(t.Context(), region)
		if err != nil || cfg.Region != want || cfg.BaseEndpoint == nil || *cfg.BaseEndpoint != "http://127.0.0.1:1" {
			t.Errorf("region %q: %q, endpoint %v, %v", region, cfg.Region, cfg.BaseEndpoint, err)
		}
	}
}
