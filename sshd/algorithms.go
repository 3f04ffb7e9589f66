package sshd

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	glider "github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

// minRSA is the size in bits from which an RSA key is accepted. sshd's
// RequiredRSASize defaults to 1024, which is within reach of being broken.
const minRSA = 2048

// defaultAlgorithms are used where [Algorithms] is silent, most wanted first;
// the client's order decides all the same.
var defaultAlgorithms = Algorithms{
	Ciphers:       []string{gossh.CipherAES256GCM, gossh.CipherAES128GCM},
	KexAlgorithms: []string{gossh.KeyExchangeMLKEM768X25519, gossh.KeyExchangeCurve25519},
	MACs:          []string{gossh.HMACSHA512ETM, gossh.HMACSHA256ETM},
	PubkeyAcceptedAlgorithms: []string{
		gossh.KeyAlgoED25519, gossh.KeyAlgoSKED25519,
		gossh.KeyAlgoECDSA256, gossh.KeyAlgoECDSA384, gossh.KeyAlgoECDSA521, gossh.KeyAlgoSKECDSA256,
		gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256,
	},
}

// resolve fills in defaults and refuses what the library lacks or distrusts.
func (a Algorithms) resolve() (Algorithms, error) {
	known := gossh.SupportedAlgorithms() // leaves out SHA-1 everywhere but here:
	known.MACs = slices.DeleteFunc(known.MACs, func(name string) bool { return name == gossh.HMACSHA1 })
	for _, f := range []struct {
		name          string
		value         *[]string
		known, byself []string
	}{
		{"Ciphers", &a.Ciphers, known.Ciphers, defaultAlgorithms.Ciphers},
		{"KexAlgorithms", &a.KexAlgorithms, known.KeyExchanges, defaultAlgorithms.KexAlgorithms},
		{"MACs", &a.MACs, known.MACs, defaultAlgorithms.MACs},
		{"PubkeyAcceptedAlgorithms", &a.PubkeyAcceptedAlgorithms, known.PublicKeyAuths, defaultAlgorithms.PubkeyAcceptedAlgorithms},
	} {
		if len(*f.value) == 0 {
			*f.value = f.byself
		}
		for _, name := range *f.value {
			if !slices.Contains(f.known, name) {
				return a, fmt.Errorf("sshd: %s: %q is not among %q", f.name, name, f.known)
			}
		}
	}
	return a, nil
}

// hostSigners returns the host keys such that none of them signs with SHA-1.
func hostSigners(keys []gossh.Signer) ([]glider.Signer, error) {
	var signers []glider.Signer
	for _, key := range keys {
		signer, err := hostSigner(key)
		if err != nil {
			return nil, err
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

func hostSigner(key gossh.Signer) (gossh.Signer, error) {
	if err := checkStrength(key.PublicKey()); err != nil {
		return nil, fmt.Errorf("sshd: host key: %w", err)
	}
	if key.PublicKey().Type() != gossh.KeyAlgoRSA {
		return key, nil
	}
	rsa, ok := key.(gossh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("sshd: host key: an RSA key that cannot sign with SHA-2")
	}
	return gossh.NewSignerWithAlgorithms(rsa, []string{gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256})
}

// checkStrength refuses keys of a kind that must not be relied on.
func checkStrength(key gossh.PublicKey) error {
	switch key.Type() {
	case "ssh-dss":
		return errors.New("DSA keys are not accepted")
	case gossh.KeyAlgoRSA:
		public, ok := key.(gossh.CryptoPublicKey)
		if !ok {
			return errors.New("RSA key of unknown size")
		}
		rsa, ok := public.CryptoPublicKey().(*rsa.PublicKey)
		if !ok || rsa.N.BitLen() < minRSA {
			return fmt.Errorf("RSA key of less than %d bits", minRSA)
		}
	}
	return nil
}
