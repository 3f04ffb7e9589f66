package serve

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"serene/internal/config"
)

// configured is a configuration on a state directory of its own.
func configured(t *testing.T) *config.Config {
	t.Helper()
	c, err := config.Load("", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c.Serve.URL = "https://repo.example.org:8443"
	return c
}

func leaf(t *testing.T, id *identity) *x509.Certificate {
	t.Helper()
	pair, err := id.config().GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestSelfSigned(t *testing.T) {
	c := configured(t)
	var log bytes.Buffer
	id, err := newIdentity(c, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf(t, id)
	if want := fingerprint(cert.Raw); !strings.Contains(log.String(), want) || !strings.HasPrefix(want, "SHA256:") || len(want) != 7+32*3-1 {
		t.Errorf("log lacks %s: %s", want, &log)
	}
	if cert.NotAfter.Before(time.Now().AddDate(9, 11, 0)) {
		t.Errorf("expires %v", cert.NotAfter)
	}
	certFile, keyFile := selfSignedFiles(tlsDir(c))
	for file, want := range map[string]os.FileMode{certFile: 0o644, keyFile: 0o600} {
		st, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", filepath.Base(file), st.Mode(), want)
		}
	}
	again, err := newIdentity(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if !leaf(t, again).Equal(cert) {
		t.Error("another certificate at the second start")
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]bool{
		host: true, "localhost": true, "127.0.0.1": true, "::1": true, "repo.example.org": true,
		"127.0.0.2": false, "example.org": false, "mirror.example.net": false,
	} {
		if err := cert.VerifyHostname(name); (err == nil) != good {
			t.Errorf("for %s: %v", name, err)
		}
	}
}

// TestSelfSignedIsNoAuthority lets the key sign for another host: a client that
// trusts the certificate must not believe it.
func TestSelfSignedIsNoAuthority(t *testing.T) {
	c := configured(t)
	id, err := newIdentity(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	root := id.current.Load()
	roots := x509.NewCertPool()
	roots.AddCert(root.Leaf)
	for name, good := range map[string]bool{"repo.example.org": true, "bank.example.net": false} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
		der, err := x509.CreateCertificate(rand.Reader, template, root.Leaf, key.Public(), root.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); (err == nil) != good {
			t.Errorf("a certificate signed for %s: %v", name, err)
		}
	}
}

func TestCertificateFiles(t *testing.T) {
	c := configured(t)
	dir := t.TempDir()
	c.Serve.TLSCert, c.Serve.TLSKey = config.Path(filepath.Join(dir, "c.pem")), config.Path(filepath.Join(dir, "k.pem"))
	if _, err := newIdentity(c, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("started without the certificate's file")
	}
	put := func(host string) {
		t.Helper()
		cert, key, err := selfSigned([]string{host}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for file, data := range map[config.Path][]byte{c.Serve.TLSCert: cert, c.Serve.TLSKey: key} {
			if err := os.WriteFile(string(file), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("one.example.org")
	id, err := newIdentity(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	put("two.example.org")
	if err := id.reload(c); err != nil {
		t.Fatal(err)
	}
	if got := leaf(t, id).DNSNames[0]; got != "two.example.org" {
		t.Errorf("after a reload: %s", got)
	}
	if err := os.WriteFile(string(c.Serve.TLSKey), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := id.reload(c); err == nil || !strings.Contains(err.Error(), "c.pem") {
		t.Errorf("reload of a broken key: %v", err)
	}
	if got := leaf(t, id).DNSNames[0]; got != "two.example.org" {
		t.Errorf("after a reload that failed: %s", got)
	}
	if _, err := os.Stat(tlsDir(c)); !os.IsNotExist(err) {
		t.Errorf("a self-signed certificate was made, too: %v", err)
	}
}

// TestACME shows what can be shown without the authority: nobody is asked for a
// certificate for another name.
func TestACME(t *testing.T) {
	c := configured(t)
	c.Serve.ACMEDomain = "repo.example.org"
	id, err := newIdentity(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	conf := id.config()
	if _, err := conf.GetCertificate(&tls.ClientHelloInfo{ServerName: "other.example.org"}); err == nil || !strings.Contains(err.Error(), "not configured") {
		t.Errorf("for another name: %v", err)
	}
	if !strings.Contains(strings.Join(conf.NextProtos, " "), "h2") || conf.MinVersion != tls.VersionTLS12 {
		t.Errorf("protocols %v from %x", conf.NextProtos, conf.MinVersion)
	}
	if err := id.reload(c); err != nil {
		t.Errorf("reload: %v", err)
	}
}

func TestTLSVersions(t *testing.T) {
	id, err := newIdentity(configured(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", id.config())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(leaf(t, id))
	for version, good := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, MinVersion: version, MaxVersion: version})
		if (err == nil) != good {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			conn.Close()
		}
	}
}
