package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// apiClient asks the API server as administrator, for the few things that Up
// waits for: a Kubernetes client library would dwarf this program.
type apiClient struct {
	endpoint string
	http     *http.Client
}

// apiTimeout bounds a single request.
const apiTimeout = 5 * time.Second

func newAPIClient(r record, p Plan) (apiClient, error) {
	pki := filepath.Join(r.State, "pki")
	ca, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return apiClient{}, fmt.Errorf("read authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return apiClient{}, errors.New("the cluster's authority is not PEM")
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		return apiClient{}, fmt.Errorf("read administrator's certificate: %w", err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}
	return apiClient{p.apiEndpoint(), &http.Client{Transport: transport, Timeout: apiTimeout}}, nil
}

// do makes one request and decodes the answer into out, unless that is nil.
func (a apiClient) do(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.endpoint+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(answer))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: decode answer: %w", method, path, err)
	}
	return nil
}

// ready fails unless the API server and its post-start hooks are.
func (a apiClient) ready(ctx context.Context) error {
	return a.do(ctx, http.MethodGet, "/readyz", nil, nil)
}

// nodeReady fetches whether each registered node is Ready.
func (a apiClient) nodeReady(ctx context.Context) (map[string]bool, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct{ Conditions []condition }
		}
	}
	if err := a.do(ctx, http.MethodGet, "/api/v1/nodes", nil, &list); err != nil {
		return nil, err
	}
	ready := map[string]bool{}
	for _, n := range list.Items {
		ready[n.Metadata.Name] = isReady(n.Status.Conditions)
	}
	return ready, nil
}

// condition is one of an object's status.
type condition struct{ Type, Status string }

func isReady(conditions []condition) bool {
	return slices.Contains(conditions, condition{"Ready", "True"})
}

// setPodCIDRs records the node's share of the pod range in its Node object. The
// API server accepts that once; repeating it changes nothing.
func (a apiClient) setPodCIDRs(ctx context.Context, n NodePlan) error {
	var cidrs []string
	for _, c := range n.PodCIDRs {
		cidrs = append(cidrs, c.String())
	}
	body, err := json.Marshal(map[string]any{"spec": map[string]any{"podCIDR": cidrs[0], "podCIDRs": cidrs}})
	if err != nil {
		return fmt.Errorf("encode pod CIDRs of %s: %w", n.Name, err)
	}
	return a.do(ctx, http.MethodPatch, "/api/v1/nodes/"+n.Name, body, nil)
}
