package serve

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"serene/internal/config"
)

// identity is what the server shows clients: a certificate from files, which
// reload reads again, or one that is fetched and renewed by itself.
type identity struct {
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate] // unused with ACME
	acme    *autocert.Manager
}

// newIdentity finds the certificate the configuration asks for.
func newIdentity(c *config.Config, log *slog.Logger) (*identity, error) {
	id := &identity{log: log}
	if domain := string(c.Serve.ACMEDomain); domain != "" {
		id.acme = &autocert.Manager{
			Prompt:     autocert.AcceptTOS,
			HostPolicy: autocert.HostWhitelist(domain),
			Cache:      autocert.DirCache(filepath.Join(tlsDir(c), "acme")),
		}
		return id, nil
	}
	return id, id.reload(c)
}

// tlsDir is where certificates lie that nobody brought.
func tlsDir(c *config.Config) string { return filepath.Join(string(c.State), "keys", "tls") }

// reload reads the certificate files again, after making a self-signed one if
// none are configured and there is none yet. On error the one before stays.
func (id *identity) reload(c *config.Config) error {
	if id.acme != nil {
		return nil
	}
	cert, key := string(c.Serve.TLSCert), string(c.Serve.TLSKey)
	if cert == "" {
		cert, key = selfSignedFiles(tlsDir(c))
		if err := ensureSelfSigned(tlsDir(c), c.Serve.URL.String(), id.log); err != nil {
			return fmt.Errorf("make self-signed certificate: %w", err)
		}
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("serve.tls_cert = %q, serve.tls_key = %q: accepts a PEM certificate and its key: %w", cert, key, err)
	}
	if before := id.current.Swap(&pair); before == nil || !before.Leaf.Equal(pair.Leaf) {
		id.log.Info("certificate", "names", strings.Join(pair.Leaf.DNSNames, " "), "fingerprint", fingerprint(pair.Leaf.Raw),
			"expires", pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// fingerprint words the SHA-256 of a certificate as openssl x509 does.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	var pairs []string
	for _, b := range sum {
		pairs = append(pairs, strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	return "SHA256:" + strings.Join(pairs, ":")
}

// config is the TLS side of the HTTPS listener.
func (id *identity) config() *tls.Config {
	c := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return id.current.Load(), nil
	}}
	if id.acme != nil {
		c = id.acme.TLSConfig()
	}
	c.MinVersion = tls.VersionTLS12
	// Answers are long: small records at their start only cost.
	c.DynamicRecordSizingDisabled = true
	return c
}
