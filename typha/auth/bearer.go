package auth

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// Bearer is a token that a client presents with each call. It implements credentials.PerRPCCredentials.
type Bearer string

// ReadToken reads the service-account token of a file.
func ReadToken(file string) (Bearer, error) {
	token, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read service-account token: %w", err)
	}
	return Bearer(strings.TrimSpace(string(token))), nil
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b Bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (Bearer) RequireTransportSecurity() bool { return true }
