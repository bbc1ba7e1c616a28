// Package awsclient sets up AWS access for the scripts, as the AWS command-line tools do: environment, profiles, single
// sign-on, instance roles, AWS_ENDPOINT_URL. The Lambda does without it.
package awsclient

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Load returns the configuration for clients in region; "" means the region of the environment or profile. It fetches
// credentials once, so that their absence shows here, with a remedy, and not in the middle of the work.
func Load(ctx context.Context, region string) (aws.Config, error) {
	var options []func(*config.LoadOptions) error
	if region != "" {
		options = append(options, config.WithRegion(region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return aws.Config{}, errors.New("AWS region unknown: give --region, or set AWS_REGION")
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return aws.Config{}, fmt.Errorf("AWS credentials: sign in, or set AWS_PROFILE: %w", err)
	}
	return cfg, nil
}

// regionInHost finds the region in the host of a queue's URL: today's form, with its FIPS and private-link variants,
// and the old one.
var regionInHost = regexp.MustCompile(`(?:^|\.)sqs(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.|^([a-z]{2,}(?:-[a-z]+)+-\d+)\.queue\.`)

// QueueRegion is the region that the URL of a queue names, "" where it names none.
func QueueRegion(queueURL string) string {
	u, err := url.Parse(queueURL)
	if err != nil {
		return ""
	}
	if m := regionInHost.FindStringSubmatch(u.Hostname()); m != nil {
		return m[1] + m[2]
	}
	return ""
}
