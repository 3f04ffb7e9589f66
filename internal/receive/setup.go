package receive

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"strings"

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

// setup prints a script for a shell, to read and paste.
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
	text := "# Lines for a shell on each machine that is to install from here.\n"
	if cert := c.certificate(); cert != nil {
		row.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
		text += row.trustCertificate(cert)
	}
	return c.emit(row, text+row.trustKey()+row.addRepos())
}

// trustCertificate has the machine's HTTPS clients trust a certificate that no
// authority vouches for. The SSH connection it is shown over vouches for it.
func (s setupRow) trustCertificate(cert *x509.Certificate) string {
	host := "serene"
	if u, err := url.Parse(s.URL); err == nil {
		host += "-" + strings.Map(fileRune, u.Hostname())
	}
	sum := sha256.Sum256(cert.Raw)
	return fmt.Sprintf(`
# Trust the server's HTTPS certificate, which it signed itself
# (SHA-256 %X, valid until %s).
anchors=/usr/local/share/ca-certificates update=update-ca-certificates # Debian
if command -v update-ca-trust >/dev/null; then # Arch
	anchors=/etc/ca-certificates/trust-source/anchors update=update-ca-trust
fi
sudo tee $anchors/%s.crt >/dev/null <<'END'
%sEND
sudo $update
`, sum, cert.NotAfter.UTC().Format("2006-01-02"), host, s.Certificate)
}

// fileRune keeps what may stand in a file name without quotes.
func fileRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' {
		return r
	}
	return '-'
}

func (s setupRow) trustKey() string {
	text := fmt.Sprintf(`
# Trust the key that packages and databases are signed with.
sudo pacman-key --init
sudo pacman-key --add - <<'END'
%s
END
`, strings.TrimSpace(s.Key))
	for _, fingerprint := range s.Trust {
		text += "sudo pacman-key --lsign-key " + fingerprint + "\n"
	}
	return text
}

func (s setupRow) addRepos() string {
	return fmt.Sprintf(`
# Add to /etc/pacman.conf (once), then load the databases.
sudo tee -a /etc/pacman.conf >/dev/null <<'END'

%sEND
sudo pacman -Sy
`, s.PacmanConf)
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
