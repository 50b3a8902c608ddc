package auth

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Identity is who a peer has proved to be.
type Identity struct {
	// Name is that of a node, or of an observer.
	Name string
	// Expires is when the proof expires; the zero time is never.
	Expires time.Time
}

// Role is what a peer of Typha may be.
type Role struct {
	name  string // of the role; a certificate for it has the common name "<name>:<name of the peer>"
	token func(*Tokens, context.Context, string) (Identity, error)
}

// The roles.
var (
	Node     = Role{"node", (*Tokens).node}
	Observer = Role{"observer", (*Tokens).observer}
)

// String returns the name of the role.
func (r Role) String() string { return r.name }

// Identify returns the identity that the peer of a stream has proved for a role. Without tokens, the certificate has
// to name the peer. ctx is that of a gRPC stream. The error is a gRPC status.
func Identify(ctx context.Context, role Role, tokens *Tokens) (Identity, error) {
	if tokens == nil {
		return fromCertificate(ctx, role)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return Identity{}, status.Error(codes.Unauthenticated, "no service-account token presented")
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok {
		return Identity{}, status.Error(codes.Unauthenticated, "the authorization is not a bearer token")
	}
	i, err := role.token(tokens, ctx, token)
	if err != nil {
		return Identity{}, status.Error(codes.Unauthenticated, err.Error())
	}
	return i, nil
}

func fromCertificate(ctx context.Context, role Role) (Identity, error) {
	peer, err := peerOf(ctx)
	if err != nil {
		return Identity{}, status.Error(codes.Unauthenticated, err.Error())
	}
	cert := peer.State.PeerCertificates[0]
	name, err := namedBy(cert, role)
	if err != nil {
		return Identity{}, status.Error(codes.PermissionDenied, err.Error())
	}
	return Identity{name, cert.NotAfter}, nil
}

// namedBy returns the name of the peer in the common name of its certificate, "<role>:<name>".
func namedBy(c *x509.Certificate, role Role) (string, error) {
	name, ok := strings.CutPrefix(c.Subject.CommonName, role.name+":")
	if !ok || name == "" {
		return "", fmt.Errorf("certificate with CN %q names no %s: it has to be %s:<name>",
			c.Subject.CommonName, role, role)
	}
	return name, nil
}
