package receive

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"strings"
	"text/template"

	"serene/internal/repo"
)

// keyRow is the public key everything is signed with.
type keyRow struct {
	Fingerprint string `json:"fingerprint"`
	Key         string `json:"key"` // armored
}

func key(_ context.Context, c *call) error {
	if err := c.noOperands(); err != nil {
		return err
	}
	armored, fingerprint, err := c.Store.PublicKey()
	if err != nil {
		return err
	}
	return c.emit(keyRow{fingerprint, string(armored)}, string(armored))
}

// mayRepos lists the repositories the caller may see that are not for debug
// packages.
func (c *call) mayRepos() []string {
	var names []string
	for _, spec := range c.Store.Specs() {
		if !repo.IsDebug(spec.Name) && c.may(access{repo: spec.Name}) {
			names = append(names, spec.Name)
		}
	}
	return names
}

// setupRow is what a machine needs to use this repository.
type setupRow struct {
	URL         string   `json:"url"`
	Repos       []string `json:"repos"`
	Fingerprint string   `json:"fingerprint"`
	Trust       []string `json:"trust"`                 // fingerprints of all keys in Key: that, the next, and earlier ones
	Key         string   `json:"key"`                   // armored
	Certificate string   `json:"certificate,omitempty"` // PEM, where it is self-signed
	PacmanConf  string   `json:"pacman_conf"`
}

//go:embed setup.sh
var setupScript string

var setupTemplate = template.Must(template.New("setup.sh").
	Funcs(template.FuncMap{"quote": shellQuote, "join": func(words []string) string { return strings.Join(words, " ") }}).
	Parse(setupScript))

// setup prints a script that makes a machine use this repository.
func setup(_ context.Context, c *call) error {
	if err := c.noOperands(); err != nil {
		return err
	}
	armored, fingerprint, err := c.Store.PublicKey()
	if err != nil {
		return err
	}
	trust, err := repo.Fingerprints(armored)
	if err != nil {
		return err
	}
	row := setupRow{URL: c.URL, Repos: c.mayRepos(), Fingerprint: fingerprint, Trust: trust, Key: string(armored)}
	for _, name := range row.Repos {
		row.PacmanConf += fmt.Sprintf("[%s]\nSigLevel = Required DatabaseRequired\nServer = %s/$repo/$arch\n\n", name, c.URL)
	}
	cert := c.certificate()
	if cert != nil {
		row.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	script, err := row.script(cert)
	if err != nil {
		return err
	}
	return c.emit(row, script)
}

// script is the row as lines for a shell; cert is its certificate, if any.
func (s setupRow) script(cert *x509.Certificate) (string, error) {
	values := struct {
		setupRow
		Anchor, Digest, NotAfter string
	}{setupRow: s, Anchor: "serene"}
	values.Key = strings.TrimSpace(s.Key)
	if u, err := url.Parse(s.URL); err == nil {
		values.Anchor += "-" + strings.Map(fileRune, u.Hostname())
	}
	if cert != nil {
		values.Digest = fmt.Sprintf("%X", sha256.Sum256(cert.Raw))
		values.NotAfter = cert.NotAfter.UTC().Format("2006-01-02")
	}
	var b strings.Builder
	err := setupTemplate.Execute(&b, values)
	return b.String(), err
}

// shellQuote makes one word of a POSIX shell of s.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// fileRune keeps what may stand in a file name without quotes.
func fileRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' {
		return r
	}
	return '-'
}

// certificate returns the certificate HTTPS is served with if it is
// self-signed, nil where clients trust it anyway. One that cannot be read is
// left out: the rest of the setup is still of use.
func (c *call) certificate() *x509.Certificate {
	if c.TLSCert == "" || !strings.HasPrefix(c.URL, "https://") {
		return nil
	}
	cert, err := readCertificate(c.TLSCert)
	if err != nil {
		c.log.Warn("certificate not shown", "err", err)
		return nil
	}
	if cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) != nil {
		return nil
	}
	return cert
}

func readCertificate(file string) (*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: no certificate in PEM", file)
	}
	return x509.ParseCertificate(block.Bytes)
}
