package repo

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// enterPool gives the file of what enters its name in the repository's pool,
// with a signature beside it. A name in the pool never changes its bytes: where
// it is taken, it must be by the same ones. The caller syncs the pool.
func (w *Writer) enterPool(c change) (warnings []string, err error) {
	e := c.entry
	inPool := filepath.Join(w.store.pool(c.place.repo), e.FileName)
	file, known := filepath.Join(c.origin, e.FileName), c.digest
	_, err = os.Lstat(inPool)
	taken := err == nil
	if taken || c.origin == "" {
		file, known = inPool, nil
	}
	digest, err := w.digest(file, e, known)
	if err != nil {
		if taken && c.origin != "" && errors.Is(err, ErrContent) {
			return nil, refuse(ErrConflict, "%s: this name was published before, with other bytes; raise pkgrel", e.FileName)
		}
		return nil, err
	}
	sig, warnings, err := w.signatureFor(file, digest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.FileName, err)
	}
	if err := durable.WriteFile(inPool+".sig", sig, 0o660); err != nil || taken {
		return warnings, err
	}
	return warnings, linkOrCopy(file, inPool)
}

// provenanceSuffix is what the name of a package's provenance ends in.
const provenanceSuffix = ".provenance.json"

// enterProvenance keeps what a transaction said of where its packages come
// from, and takes it along where one comes from another pool.
func (w *Writer) enterProvenance(c change, said json.RawMessage) error {
	if said == nil {
		data, err := os.ReadFile(filepath.Join(c.origin, c.entry.FileName+provenanceSuffix))
		if c.origin == "" || err != nil {
			return nil // there is none
		}
		said = data
	}
	return durable.WriteFile(filepath.Join(w.store.pool(c.place.repo), c.entry.FileName+provenanceSuffix), said, 0o660)
}

// Provenance returns what is known of where a published package file comes
// from, nil when that is nothing.
func (s *Store) Provenance(repo, file string) (json.RawMessage, error) {
	if _, err := alpm.ParseFileName(file); err != nil {
		return nil, refuse(ErrNotFound, "%s", err)
	}
	data, err := os.ReadFile(filepath.Join(s.pool(repo), file+provenanceSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// packageOf is the package file that a file of the pool belongs to.
func packageOf(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, provenanceSuffix), ".sig")
}

// digest returns the hash of a package file, holds it to the entry, and makes
// sure that the file is on disk. It reads the file only where the state of the
// hash is not known.
func (w *Writer) digest(file string, e *alpm.Entry, known []byte) (hash.Cloner, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, refuse(ErrContent, "%s: %s", e.FileName, err) // it would never get better
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	digest, err := resumeDigest(known)
	if err != nil {
		digest = newDigest()
		_, err = io.Copy(digest, f)
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() != e.CSize {
		return nil, refuse(ErrContent, "%s: %d bytes, not %d", e.FileName, st.Size(), e.CSize)
	}
	if sum := hex.EncodeToString(digest.Sum(nil)); sum != e.SHA256 {
		return nil, refuse(ErrContent, "%s: sha256 is %s, not %s", e.FileName, sum, e.SHA256)
	}
	return digest, durable.Sync(f)
}

// signatureFor returns the signature to publish with file: the one beside it
// where it is by a key that clients are to trust, else our own.
func (w *Writer) signatureFor(file string, digest hash.Cloner) (sig []byte, warnings []string, err error) {
	brought, err := os.ReadFile(file + ".sig")
	if errors.Is(err, fs.ErrNotExist) {
		sig, err = w.signer.sign(digest)
		return sig, nil, err
	}
	if err != nil {
		return nil, nil, err
	}
	switch w.verifyOwn(brought, digest) {
	case nil:
		return brought, nil, nil
	case errRetiredKey:
		sig, err = w.signer.sign(digest)
		return sig, nil, err
	}
	keys, listed, err := w.store.uploaders()
	if err != nil {
		return nil, nil, err
	}
	if !listed {
		sig, err = w.signer.sign(digest)
		return sig, []string{"signature not kept: there is no keys/uploaders to check it with; signed by the repository"}, err
	}
	return brought, nil, checkSignature(keys, file, brought)
}

func checkSignature(keys openpgp.EntityList, file string, sig []byte) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := openpgp.CheckDetachedSignature(keys, f, bytes.NewReader(sig), pgpConfig()); err != nil {
		return refuse(ErrContent, "signature: %s", err)
	}
	return nil
}

// linkOrCopy gives the bytes of from the name to. Where the file system has no
// second name to give, it copies.
func linkOrCopy(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return copyFile(from, to)
}

// copyFile copies from to the new name to, sharing blocks where the file system
// can. The caller syncs the directory.
func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	return copyOpen(src, to)
}

func copyOpen(src *os.File, to string) error {
	aside, err := os.CreateTemp(filepath.Dir(to), ".aside-*")
	if err != nil {
		return err
	}
	defer os.Remove(aside.Name())
	_, err = io.Copy(aside, src)
	if err := errors.Join(err, aside.Chmod(0o660), durable.Sync(aside), aside.Close()); err != nil {
		return noSpace(err)
	}
	return durable.Move(aside.Name(), to)
}
