package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"example.com/market-data-pipeline/scripts/internal/stackcheck"
)

// call is one use of a permission: an IAM action on the ARN of a resource.
type call struct{ Action, Resource string }

func (c call) String() string { return c.Action + " on " + c.Resource }

// statement is one statement of a policy, with its resources resolved.
type statement struct {
	Sid       string
	Actions   []string
	Resources []string
}

// exception is a permission that the function's own code never uses, and who does.
type exception struct {
	Action string
	Reason string
}

// exceptions are the permissions that the recording proxy cannot see.
var exceptions = []exception{
	{"sqs:ReceiveMessage", "Lambda's poller calls it in the function's role; here the runner does"},
	{"sqs:DeleteMessage", "Lambda's poller calls it in the function's role; here the runner does"},
	{"sqs:GetQueueAttributes", "Lambda's poller calls it in the function's role"},
	{"kms:Decrypt", "SQS, SNS, DynamoDB and Lambda call it on behalf of the role; the emulator encrypts nothing"},
	{"kms:GenerateDataKey", "SQS and SNS call it on behalf of the role; the emulator encrypts nothing"},
	{"logs:CreateLogStream", "Lambda writes the function's output in its role"},
	{"logs:PutLogEvents", "Lambda writes the function's output in its role"},
	{"xray:PutTelemetryRecords", "Lambda traces in the function's role"},
	{"xray:PutTraceSegments", "Lambda traces in the function's role"},
}

// judge matches calls against a policy. Its error names every call that is not allowed, every permission that no call
// used and no exception explains, and every exception that explains nothing.
func judge(policy []statement, calls []call, exceptions []exception) error {
	var errs []error
	for _, c := range calls {
		if !slices.ContainsFunc(policy, func(s statement) bool { return s.allows(c) }) {
			errs = append(errs, fmt.Errorf("the function called %s, which its policy does not allow", c))
		}
	}
	needed := map[string]bool{}
	for _, s := range policy {
		for _, action := range s.Actions {
			for _, resource := range s.Resources {
				one := statement{Actions: []string{action}, Resources: []string{resource}}
				if slices.ContainsFunc(calls, one.allows) {
					continue
				}
				if slices.ContainsFunc(exceptions, func(e exception) bool { return e.Action == action }) {
					needed[action] = true
					continue
				}
				errs = append(errs, fmt.Errorf("the policy allows %s on %s (statement %s), which the function never called", action, resource, s.Sid))
			}
		}
	}
	for _, e := range exceptions {
		if !needed[e.Action] {
			errs = append(errs, fmt.Errorf("the exception for %s explains nothing: the policy does not have it, or the function calls it", e.Action))
		}
	}
	return errors.Join(errs...)
}

func (s statement) allows(c call) bool {
	return slices.ContainsFunc(s.Actions, func(p string) bool { return matches(strings.ToLower(p), strings.ToLower(c.Action)) }) &&
		slices.ContainsFunc(s.Resources, func(p string) bool { return matches(p, c.Resource) })
}

// matches is IAM's matching: "*" is any text, "?" one character.
func matches(pattern, text string) bool {
	// path.Match stops at slashes and knows more special characters.
	escape := strings.NewReplacer(`\`, `\\`, `[`, `\[`, "/", "\x00")
	ok, err := path.Match(escape.Replace(pattern), strings.ReplaceAll(text, "/", "\x00"))
	return err == nil && ok
}

// rolePolicy reads, out of a synthesized template, everything that the role of the function allows, with references
// resolved to what was deployed. Managed policies and conditions are errors: the judgement would be wrong.
func rolePolicy(template []byte, s *stackcheck.Stack) ([]statement, error) {
	var t struct {
		Resources map[string]struct {
			Type       string
			Properties map[string]any
		}
	}
	if err := json.Unmarshal(template, &t); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	role := ""
	for id, r := range t.Resources {
		if r.Type != "AWS::Lambda::Function" {
			continue
		}
		if role != "" {
			return nil, fmt.Errorf("template: more than one function, %s is the second", id)
		}
		at, _ := r.Properties["Role"].(map[string]any)
		get, _ := at["Fn::GetAtt"].([]any)
		if len(get) != 2 {
			return nil, fmt.Errorf("template: the role of function %s is no reference: %v", id, r.Properties["Role"])
		}
		role, _ = get[0].(string)
	}
	var policy []statement
	var errs []error
	add := func(document any) {
		statements, err := parse(document, s)
		policy, errs = append(policy, statements...), append(errs, err)
	}
	for id, r := range t.Resources {
		switch {
		case id == role:
			if managed := r.Properties["ManagedPolicyArns"]; managed != nil {
				errs = append(errs, fmt.Errorf("template: role %s has managed policies: %v", id, managed))
			}
			policies, _ := r.Properties["Policies"].([]any)
			for _, p := range policies {
				inline, _ := p.(map[string]any)
				add(inline["PolicyDocument"])
			}
		case r.Type == "AWS::IAM::Policy" || r.Type == "AWS::IAM::RolePolicy":
			add(r.Properties["PolicyDocument"])
		}
	}
	if len(policy) == 0 {
		errs = append(errs, fmt.Errorf("template: role %q has no policy", role))
	}
	return policy, errors.Join(errs...)
}

func parse(document any, s *stackcheck.Stack) ([]statement, error) {
	d, _ := document.(map[string]any)
	var out []statement
	var errs []error
	for _, x := range list(d["Statement"]) {
		m, _ := x.(map[string]any)
		sid, _ := m["Sid"].(string)
		if m["Effect"] != "Allow" || m["Condition"] != nil || m["NotAction"] != nil || m["NotResource"] != nil {
			errs = append(errs, fmt.Errorf("policy: statement %q is more than actions allowed on resources: teach this check to judge it", sid))
			continue
		}
		st := statement{Sid: sid}
		for _, a := range list(m["Action"]) {
			text, err := resolve(a, s)
			st.Actions, errs = append(st.Actions, text), append(errs, err)
		}
		for _, r := range list(m["Resource"]) {
			text, err := resolve(r, s)
			st.Resources, errs = append(st.Resources, text), append(errs, err)
		}
		out = append(out, st)
	}
	return out, errors.Join(errs...)
}

// list is v where it is a list, else the list of v alone: policies allow both.
func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

// resolve evaluates the intrinsics that policies are written with.
func resolve(v any, s *stackcheck.Stack) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case map[string]any:
		if ref, ok := v["Ref"].(string); ok {
			switch ref {
			case "AWS::Region":
				return s.Region, nil
			case "AWS::AccountId":
				return s.Account, nil
			case "AWS::Partition":
				return "aws", nil
			}
			if r, ok := s.Physical[ref]; ok {
				return r.PhysicalID, nil
			}
		}
		if get, ok := v["Fn::GetAtt"].([]any); ok && len(get) == 2 && get[1] == "Arn" {
			id, _ := get[0].(string)
			if r, ok := s.Physical[id]; ok {
				return arnOf(r, s)
			}
		}
		if join, ok := v["Fn::Join"].([]any); ok && len(join) == 2 {
			separator, _ := join[0].(string)
			var parts []string
			for _, x := range list(join[1]) {
				part, err := resolve(x, s)
				if err != nil {
					return "", err
				}
				parts = append(parts, part)
			}
			return strings.Join(parts, separator), nil
		}
	}
	return "", fmt.Errorf("policy: cannot resolve %v: no such resource is deployed, or this check does not know the function", v)
}

// arnOf is what Fn::GetAtt gives as a resource's Arn.
func arnOf(r stackcheck.Resource, s *stackcheck.Stack) (string, error) {
	id := r.PhysicalID
	in := func(service, resource string) string {
		return "arn:aws:" + service + ":" + s.Region + ":" + s.Account + ":" + resource
	}
	switch r.Type {
	case "AWS::SQS::Queue":
		return s.QueueARN(id), nil
	case "AWS::DynamoDB::Table":
		return in("dynamodb", "table/"+id), nil
	case "AWS::KMS::Key":
		return in("kms", "key/"+id), nil
	case "AWS::Logs::LogGroup":
		return in("logs", "log-group:"+id+":*"), nil
	case "AWS::SNS::Topic":
		return id, nil
	}
	return "", fmt.Errorf("policy: the ARN of a %s is not known here", r.Type)
}
