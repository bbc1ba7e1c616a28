package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/market-data-pipeline/scripts/internal/stackcheck"
)

// unbootstrap deletes the stack that cdk bootstrap made, and the buckets of assets that outlive it.
func unbootstrap(ctx context.Context, cfg aws.Config) (string, error) {
	api := stackcheck.NewAPI(cfg)
	var nothing struct{}
	if err := api.Query(ctx, "cloudformation", "2010-05-15", "DeleteStack", map[string]string{"StackName": "CDKToolkit"}, &nothing); err != nil {
		return "", err
	}
	s3 := func(method, path string, out any) error {
		b, err := api.Call(ctx, "s3", method, path, http.Header{}, nil)
		if err == nil && out != nil {
			err = xml.Unmarshal(b, out)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		return nil
	}
	var buckets struct {
		Names []string `xml:"Buckets>Bucket>Name"`
	}
	if err := s3(http.MethodGet, "/", &buckets); err != nil {
		return "", err
	}
	var errs []error
	removed := 0
	for _, bucket := range buckets.Names {
		if !strings.HasPrefix(bucket, "cdk-") {
			errs = append(errs, fmt.Errorf("bucket %s is left", bucket))
			continue
		}
		var objects struct {
			Keys []string `xml:"Contents>Key"`
		}
		errs = append(errs, s3(http.MethodGet, "/"+bucket+"?list-type=2", &objects))
		for _, key := range objects.Keys {
			removed++
			errs = append(errs, s3(http.MethodDelete, "/"+bucket+"/"+url.PathEscape(key), nil))
		}
		errs = append(errs, s3(http.MethodDelete, "/"+bucket, nil))
	}
	var roles struct {
		Names []string `xml:"ListRolesResult>Roles>member>RoleName"`
	}
	errs = append(errs, api.Query(ctx, "iam", "2010-05-08", "ListRoles", nil, &roles))
	if len(roles.Names) > 0 {
		errs = append(errs, fmt.Errorf("roles are left: %v", roles.Names))
	}
	return fmt.Sprintf("%d buckets, %d objects", len(buckets.Names), removed), errors.Join(errs...)
}
