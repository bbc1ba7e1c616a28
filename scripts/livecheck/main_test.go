package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const shippedRules = "../../functions/processor/rules.yaml"

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		name, args string
		code       int
		want       string
	}{
		{"help", "--help", 0, "NEVER BEEN RUN ON AWS"},
		{"no stack", "--region eu-west-1", 2, "--stack is missing"},
		{"an argument", "market-data-prod", 2, "give flags only"},
		{"an argument after the flags", "--stack s prod", 2, "give flags only"},
		{"unknown flag", "--suffix prod", 2, "suffix"},
		{"little patience", "--stack s --patience 5s", 2, "at least 2m"},
		{"no rules", "--stack s --rules no-such-file.yaml", 1, "--rules"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Whatever goes wrong here, it cannot reach AWS.
			t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
			var out, errs bytes.Buffer
			code := run(t.Context(), strings.Fields(test.args), &out, &errs)
			if code != test.code || !strings.Contains(errs.String(), test.want) {
				t.Errorf("code %d, %q; want %d and %q", code, errs.String(), test.code, test.want)
			}
		})
	}
}

func TestAStackThatIsNotThere(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		http.Error(w, `<E><Error><Code>ValidationError</Code><Message>Stack with id s does not exist</Message></Error></E>`, http.StatusBadRequest)
	}))
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"--stack", "s", "--region", "eu-west-1", "--rules", shippedRules}, &out, &errs)
	if code != 1 || !strings.Contains(errs.String(), "does not exist") || calls != 1 {
		t.Errorf("code %d after %d calls: %s", code, calls, errs.String())
	}
}
