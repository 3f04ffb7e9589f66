package serve

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"serene/internal/durable"
)

// selfSignedYears is how long the certificate made at first start is good for.
// Nothing renews it: clients trust this very certificate.
const selfSignedYears = 10

// selfSignedFiles are the certificate and its key in dir.
func selfSignedFiles(dir string) (cert, key string) {
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}

// ensureSelfSigned makes a certificate in dir unless there is one. The key is
// written first, so that a certificate that is there is whole.
func ensureSelfSigned(dir, publicURL string, log *slog.Logger) error {
	certFile, keyFile := selfSignedFiles(dir)
	if _, err := os.Stat(certFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	hosts, err := certificateHosts(publicURL)
	if err != nil {
		return err
	}
	cert, key, err := selfSigned(hosts, time.Now())
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(dir, 0o770); err != nil {
		return err
	}
	if err := durable.WriteFile(keyFile, key, 0o600); err != nil {
		return err
	}
	if err := durable.WriteFile(certFile, cert, 0o644); err != nil {
		return err
	}
	log.Info("made a self-signed certificate", "file", certFile)
	return nil
}

// certificateHosts are the names and addresses clients on this machine, and
// those that follow the public URL, may use.
func certificateHosts(publicURL string) ([]string, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	hosts := []string{hostname, "localhost", "127.0.0.1", "::1"}
	if u, err := url.Parse(publicURL); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	first := hosts[0]
	slices.Sort(hosts)
	hosts = slices.DeleteFunc(slices.Compact(hosts), func(h string) bool { return h == first })
	return append([]string{first}, hosts...), nil
}

// selfSigned makes a certificate and its key, both as PEM. It is marked as an
// authority, as trust stores only take those; name constraints see to it that
// it is one for these hosts and no others.
func selfSigned(hosts []string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:                serial,
		Subject:                     pkix.Name{CommonName: hosts[0], Organization: []string{"serene"}},
		NotBefore:                   now.Add(-time.Hour), // a client's clock may be behind
		NotAfter:                    now.AddDate(selfSignedYears, 0, 0),
		KeyUsage:                    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLenZero:              true,
		PermittedDNSDomainsCritical: true,
	}
	for _, host := range hosts {
		permit(template, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return encodePEM("CERTIFICATE", der), encodePEM("PRIVATE KEY", pkcs8), nil
}

// permit makes host a name of the certificate, and one it may vouch for.
func permit(template *x509.Certificate, host string) {
	ip := net.ParseIP(host)
	if ip == nil {
		template.DNSNames = append(template.DNSNames, host)
		template.PermittedDNSDomains = append(template.PermittedDNSDomains, host)
		return
	}
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	bits := 8 * len(ip)
	template.IPAddresses = append(template.IPAddresses, ip)
	template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)})
}

func encodePEM(kind string, der []byte) []byte {
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}) // a buffer takes everything
	return b.Bytes()
}
