package stackcheck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// API makes signed calls to the services of which the checks need one or two operations each: a client of the SDK for
// each of them would be a dependency of its own.
type API struct {
	cfg    aws.Config
	signer *v4.Signer
	client *http.Client
}

// NewAPI returns an API that calls cfg's endpoint where it has one, else AWS.
func NewAPI(cfg aws.Config) *API {
	return &API{cfg: cfg, signer: v4.NewSigner(), client: &http.Client{Timeout: 30 * time.Second}}
}

// Error is AWS's refusal of a call.
type Error struct {
	Service string
	Status  int
	Code    string
	Message string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s answered %d %s: %s", e.Service, e.Status, e.Code, e.Message)
}

// Query makes a call of the query protocol (CloudFormation, CloudWatch, IAM) and reads the XML answer into out, whose
// tags are those of the outermost element. values are the parameters beside Action.
func (a *API) Query(ctx context.Context, service, version, action string, values map[string]string, out any) error {
	form := url.Values{"Action": {action}, "Version": {version}}
	for k, v := range values {
		form.Set(k, v)
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	b, err := a.Call(ctx, service, http.MethodPost, "/", header, []byte(form.Encode()))
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	if err := xml.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s: reading %s's answer: %w", action, service, err)
	}
	return nil
}

// JSON makes a call of the JSON protocol (KMS, Logs): target is "TrentService.DescribeKey".
func (a *API) JSON(ctx context.Context, service, target string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	header := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {target}}
	b, err := a.Call(ctx, service, http.MethodPost, "/", header, body)
	return decode(b, err, target, out)
}

// REST makes a call of the REST protocol (Lambda). in is sent as JSON unless it is nil.
func (a *API) REST(ctx context.Context, service, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	b, err := a.Call(ctx, service, method, path, http.Header{"Content-Type": {"application/json"}}, body)
	return decode(b, err, method+" "+path, out)
}

func decode(b []byte, err error, what string, out any) error {
	if err == nil && len(bytes.TrimSpace(b)) > 0 {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Call makes a signed call as it is given and returns the answer's body. path may have a query; an answer that is no
// success is an *Error.
func (a *API) Call(ctx context.Context, service, method, path string, header http.Header, body []byte) ([]byte, error) {
	base, region := a.endpoint(service)
	req, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	credentials, err := a.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("AWS credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := a.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), service, region, time.Now()); err != nil {
		return nil, fmt.Errorf("signing a call to %s: %w", service, err)
	}
	response, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s's answer: %w", service, err)
	}
	if response.StatusCode/100 != 2 {
		return nil, refusal(service, response, b)
	}
	return b, nil
}

// endpoint is the base URL of a service, by its signing name, and the region to sign for.
func (a *API) endpoint(service string) (base, region string) {
	region = a.cfg.Region
	if service == "iam" {
		region = "us-east-1" // IAM is global; the other partitions' endpoints are not known here
	}
	if a.cfg.BaseEndpoint != nil {
		return strings.TrimSuffix(*a.cfg.BaseEndpoint, "/"), region
	}
	suffix := "amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		suffix += ".cn"
	}
	if service == "iam" {
		return "https://iam." + suffix, region
	}
	return "https://" + service + "." + region + "." + suffix, region
}

// refusal reads the code and the message out of either protocol's error.
func refusal(service string, response *http.Response, body []byte) error {
	e := &Error{Service: service, Status: response.StatusCode}
	var asXML struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	var asJSON struct{ Type, Message string }
	var lower struct {
		Type string `json:"__type"`
	}
	switch {
	case xml.Unmarshal(body, &asXML) == nil && asXML.Code != "":
		e.Code, e.Message = asXML.Code, asXML.Message
	case json.Unmarshal(body, &asJSON) == nil:
		_ = json.Unmarshal(body, &lower)
		e.Code, e.Message = asJSON.Type, asJSON.Message
		if lower.Type != "" {
			e.Code = lower.Type
		}
	}
	if kind := response.Header.Get("X-Amzn-Errortype"); kind != "" {
		e.Code = kind
	}
	// "com.amazonaws.kms#NotFoundException:http://..." in its longest form.
	e.Code = e.Code[strings.LastIndexByte(e.Code, '#')+1:]
	e.Code, _, _ = strings.Cut(e.Code, ":")
	return e
}

// missing tells whether err says that what was asked for does not exist.
func missing(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == http.StatusNotFound || strings.Contains(e.Code, "NotFound") ||
		strings.Contains(e.Message, "does not exist"))
}
