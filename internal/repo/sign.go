package repo

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"serene/internal/durable"
)

// maxSignature is the most pacman downloads of a .sig, in bytes.
const maxSignature = 16 << 10

// Signer makes and checks the repository's own detached signatures. They are
// OpenPGP v4 over SHA-256, which gpg 2.2 and pacman-key know; newer forms they
// do not.
type Signer struct {
	entity *openpgp.Entity
	key    openpgp.Key // the primary or sub key that signs

	path       string // of the secret key
	passphrase []byte
	next       *Signer // announced to follow this one; nil when there is none
}

// pgpConfig: no salt notation, so that the same bytes signed twice in a second
// give the same signature, and nothing in it that gpg has to skip.
func pgpConfig() *packet.Config {
	plain := false
	return &packet.Config{
		Algorithm:                             packet.PubKeyAlgoEdDSA,
		DefaultHash:                           crypto.SHA256,
		NonDeterministicSignaturesViaNotation: &plain,
	}
}

// LoadOrCreateSigner reads the armored secret key at path, or makes an EdDSA
// one for uid ("Name <mail>" or a bare name) when there is none. passphrase
// unlocks the key, nil when it has none. Where the key that is to follow lies
// beside it (signing-next.asc beside signing.asc), that is read, too.
func LoadOrCreateSigner(path string, passphrase []byte, uid string) (s *Signer, created bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		created = true
		data, err = createKey(path, passphrase, uid)
	}
	if err != nil {
		return nil, created, fmt.Errorf("signing key: %w", err)
	}
	s, err = parseSigner(data, passphrase)
	if err != nil {
		return nil, created, fmt.Errorf("signing key %s: %w", path, err)
	}
	s.path, s.passphrase = path, passphrase
	if s.next, err = loadNext(path, passphrase); err != nil {
		return nil, created, fmt.Errorf("next signing key: %w", err)
	}
	return s, created, nil
}

func loadNext(path string, passphrase []byte) (*Signer, error) {
	data, err := os.ReadFile(nextPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseSigner(data, passphrase)
}

func createKey(path string, passphrase []byte, uid string) ([]byte, error) {
	name, mail, _ := strings.Cut(strings.TrimSuffix(uid, ">"), " <")
	entity, err := openpgp.NewEntity(name, "", mail, pgpConfig())
	if err != nil {
		return nil, err
	}
	entity.Subkeys = nil // it only signs
	if len(passphrase) > 0 {
		if err := entity.EncryptPrivateKeys(passphrase, pgpConfig()); err != nil {
			return nil, err
		}
	}
	data, err := armored(openpgp.PrivateKeyType, func(w io.Writer) error {
		return entity.SerializePrivateWithoutSigning(w, pgpConfig())
	})
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o770); err != nil {
		return nil, err
	}
	return data, durable.WriteFile(path, data, 0o600)
}

func parseSigner(data, passphrase []byte) (*Signer, error) {
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("holds %d keys, needs one", len(list))
	}
	entity := list[0]
	if err := entity.DecryptPrivateKeys(passphrase); err != nil {
		return nil, fmt.Errorf("unlock with signing_key_passphrase_file: %w", err)
	}
	key, ok := entity.SigningKey(time.Now())
	if !ok || key.PrivateKey == nil || key.PrivateKey.Encrypted {
		return nil, errors.New("no valid secret key that may sign")
	}
	switch key.PublicKey.PubKeyAlgo {
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoRSA:
	default:
		return nil, errors.New("pacman-key needs an EdDSA or RSA key")
	}
	return &Signer{entity: entity, key: key}, nil
}

// PublicKey is the armored public key, as pacman-key --add takes it.
func (s *Signer) PublicKey() ([]byte, error) {
	return armored(openpgp.PublicKeyType, s.entity.Serialize)
}

// Fingerprint is the primary key's, in upper hex, as pacman-key --lsign-key
// takes it.
func (s *Signer) Fingerprint() string { return fingerprint(s.entity) }

func fingerprint(e *openpgp.Entity) string {
	return strings.ToUpper(hex.EncodeToString(e.PrimaryKey.Fingerprint))
}

// Fingerprints lists the fingerprints (upper hex) of armored public keys, of
// which there is at least one.
func Fingerprints(armored []byte) ([]string, error) {
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(armored))
	if err != nil || len(list) == 0 {
		return nil, fmt.Errorf("public key: %w", err)
	}
	var all []string
	for _, e := range list {
		all = append(all, fingerprint(e))
	}
	return all, nil
}

func armored(kind string, write func(io.Writer) error) ([]byte, error) {
	var buf bytes.Buffer
	w, err := armor.Encode(&buf, kind, nil)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(write(w), w.Close()); err != nil {
		return nil, err
	}
	buf.WriteByte('\n')
	return buf.Bytes(), nil
}

// newDigest is the hash signatures are made over. Its state can be cloned, so
// that one pass over the bytes serves the digest, the signature and its check.
func newDigest() hash.Cloner { return sha256.New().(hash.Cloner) }

// resumeDigest goes on from the state of a digest.
func resumeDigest(state []byte) (hash.Cloner, error) {
	h := newDigest()
	return h, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}

func clone(h hash.Cloner) hash.Cloner {
	c, err := h.Clone()
	if err != nil {
		panic(err) // SHA-256 always clones
	}
	return c
}

// sign returns a detached signature over the bytes h has taken in, checked.
// h stays as it was.
func (s *Signer) sign(h hash.Cloner) ([]byte, error) {
	lifetime := uint32(0)
	sig := &packet.Signature{
		Version:         s.key.PublicKey.Version,
		SigType:         packet.SigTypeBinary,
		PubKeyAlgo:      s.key.PublicKey.PubKeyAlgo,
		Hash:            crypto.SHA256,
		CreationTime:    time.Now(),
		IssuerKeyId:     &s.key.PublicKey.KeyId,
		SigLifetimeSecs: &lifetime,
	}
	if err := sig.Sign(clone(h), s.key.PrivateKey, pgpConfig()); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := sig.Serialize(&buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), s.verify(buf.Bytes(), h)
}

// verify checks that sig is this signer's over the bytes h has taken in.
func (s *Signer) verify(sig []byte, h hash.Cloner) error {
	p, err := parseSignature(sig)
	if err != nil {
		return err
	}
	return s.key.PublicKey.VerifySignature(clone(h), p)
}

// parseSignature reads a detached signature as pacman wants it: binary, one
// packet, a hash that still stands.
func parseSignature(data []byte) (*packet.Signature, error) {
	if len(data) > maxSignature {
		return nil, refuse(ErrContent, "signature larger than %d bytes", maxSignature)
	}
	if bytes.HasPrefix(data, []byte("-----BEGIN")) {
		return nil, refuse(ErrContent, "signature is armored; pacman needs a binary one (gpg --detach-sign without --armor)")
	}
	r := bytes.NewReader(data)
	p, err := packet.Read(r)
	if err != nil {
		return nil, refuse(ErrContent, "not an OpenPGP signature: %s", err)
	}
	sig, ok := p.(*packet.Signature)
	switch {
	case !ok:
		return nil, refuse(ErrContent, "not an OpenPGP signature but another packet")
	case r.Len() > 0:
		return nil, refuse(ErrContent, "more than one signature in a file: pacman would need to trust them all")
	case sig.SigType != packet.SigTypeBinary:
		return nil, refuse(ErrContent, "signature of type %#x, needs a binary document's", byte(sig.SigType))
	case sig.Hash != crypto.SHA256 && sig.Hash != crypto.SHA384 && sig.Hash != crypto.SHA512:
		return nil, refuse(ErrContent, "signature uses a weak hash")
	case sig.IssuerKeyId == nil:
		return nil, refuse(ErrContent, "signature does not name its key")
	}
	return sig, nil
}
