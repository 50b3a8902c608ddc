package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// Config says how to reach etcd. The JSON names are those of a CalicoAPIConfig's spec.
type Config struct {
	// Endpoints are URLs with commas between, all http or all https, for example
	// "https://etcd1:2379,https://etcd2:2379".
	Endpoints string `json:"etcdEndpoints,omitempty"`
	// DiscoverySRV is a domain whose SRV records name the endpoints; instead of Endpoints.
	DiscoverySRV string `json:"etcdDiscoverySrv,omitempty"`
	Username     string `json:"etcdUsername,omitempty"`
	Password     string `json:"etcdPassword,omitempty"`
	// The PEM files of our key and certificate, and of the authorities that sign etcd's. Key and certificate are read
	// at each connection, so that they may be renewed.
	KeyFile  string `json:"etcdKeyFile,omitempty"`
	CertFile string `json:"etcdCertFile,omitempty"`
	CAFile   string `json:"etcdCACertFile,omitempty"`
	// The same as PEM text, which goes before the files.
	Key  string `json:"etcdKey,omitempty"`
	Cert string `json:"etcdCert,omitempty"`
	CA   string `json:"etcdCACert,omitempty"`
}

// FromEnvironment completes what is not set in c from Calico's environment variables, by a function like os.Getenv.
func (c Config) FromEnvironment(getenv func(string) string) Config {
	if c.Endpoints == "" && c.DiscoverySRV == "" { // they are alternatives
		c.Endpoints, c.DiscoverySRV = getenv("ETCD_ENDPOINTS"), getenv("ETCD_DISCOVERY_SRV")
	}
	for name, field := range map[string]*string{
		"ETCD_USERNAME": &c.Username, "ETCD_PASSWORD": &c.Password,
		"ETCD_KEY_FILE": &c.KeyFile, "ETCD_CERT_FILE": &c.CertFile, "ETCD_CA_CERT_FILE": &c.CAFile,
		"ETCD_KEY": &c.Key, "ETCD_CERT": &c.Cert, "ETCD_CA_CERT": &c.CA,
	} {
		*field = cmp.Or(*field, getenv(name))
	}
	return c
}

// check finds what can be told to be wrong without asking anybody.
func (c Config) check() error {
	switch {
	case c.Endpoints == "" && c.DiscoverySRV == "":
		return errors.New("no endpoint of etcd is given: set ETCD_ENDPOINTS, for example to " +
			"https://etcd1:2379,https://etcd2:2379, or ETCD_DISCOVERY_SRV")
	case c.Endpoints != "" && c.DiscoverySRV != "":
		return errors.New("ETCD_ENDPOINTS and ETCD_DISCOVERY_SRV are both set: unset one of them")
	case (c.Username == "") != (c.Password == ""):
		return errors.New("ETCD_USERNAME and ETCD_PASSWORD are needed both, or neither of them")
	case (c.Key == "") != (c.Cert == ""):
		return errors.New("ETCD_KEY and ETCD_CERT are needed both, or neither of them")
	case c.Key == "" && (c.KeyFile == "") != (c.CertFile == ""):
		return errors.New("ETCD_KEY_FILE and ETCD_CERT_FILE are needed both, or neither of them")
	case c.Endpoints == "":
		return nil
	}
	_, err := c.endpoints()
	return err
}

// endpoints splits the list. The first one's scheme decides for the connections to all, hence it must be the same.
func (c Config) endpoints() ([]string, error) {
	var endpoints []string
	first := ""
	for endpoint := range strings.SplitSeq(c.Endpoints, ",") {
		endpoint = strings.TrimSuffix(strings.TrimSpace(endpoint), "/")
		scheme, host, ok := strings.Cut(endpoint, "://")
		if !ok || scheme != "http" && scheme != "https" {
			return nil, fmt.Errorf("endpoint %q of etcd (ETCD_ENDPOINTS) is not of the form https://host:port or "+
				"http://host:port", endpoint)
		}
		if _, port, err := net.SplitHostPort(host); err != nil || !isPort(port) {
			return nil, fmt.Errorf("endpoint %q of etcd (ETCD_ENDPOINTS) has no port: write for example %s://%s:2379",
				endpoint, scheme, host)
		}
		first = cmp.Or(first, scheme)
		if scheme != first {
			return nil, fmt.Errorf("endpoints %q of etcd (ETCD_ENDPOINTS) mix http and https: use one for all",
				c.Endpoints)
		}
		endpoints = append(endpoints, endpoint)
	}
	return endpoints, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// resolve returns the endpoints, by DNS if that is how they are found: the records of https, and without any those of
// http.
func (c Config) resolve(ctx context.Context) ([]string, error) {
	if c.DiscoverySRV == "" {
		return c.endpoints()
	}
	var errs []error
	for _, service := range []struct{ name, scheme string }{{"etcd-client-ssl", "https"}, {"etcd-client", "http"}} {
		_, records, err := net.DefaultResolver.LookupSRV(ctx, service.name, "tcp", c.DiscoverySRV)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var endpoints []string
		for _, r := range records {
			host := net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port)))
			endpoints = append(endpoints, service.scheme+"://"+host)
		}
		if len(endpoints) > 0 {
			return endpoints, nil
		}
	}
	return nil, fmt.Errorf("find etcd by the SRV records of %s (ETCD_DISCOVERY_SRV): %w", c.DiscoverySRV,
		errors.Join(errs...))
}

// tls returns the settings of connections by https.
func (c Config) tls() (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	authorities, from := []byte(c.CA), "ETCD_CA_CERT"
	if c.CA == "" && c.CAFile != "" {
		var err error
		authorities, err = os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read etcd's authorities (ETCD_CA_CERT_FILE): %w", err)
		}
		from = c.CAFile
	}
	if len(authorities) > 0 {
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("%s has no PEM certificate of etcd's authorities", from)
		}
	}
	switch {
	case c.Cert != "":
		pair, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key))
		if err != nil {
			return nil, fmt.Errorf("read ETCD_CERT and ETCD_KEY: %w", err)
		}
		settings.Certificates = []tls.Certificate{pair}
	case c.CertFile != "":
		if _, err := c.pair(); err != nil {
			return nil, err
		}
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.pair() }
	}
	return settings, nil
}

func (c Config) pair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s and key %s for etcd: %w", c.CertFile, c.KeyFile, err)
	}
	return &pair, nil
}
