package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"golang.org/x/sys/unix"

	"serene/internal/durable"
)

// A signature file never carries two signatures: pacman would need to trust
// both keys. So a key is replaced in two steps, clients between them:
//
//  1. Announce makes the next key, signing-next.asc beside the signing key, and
//     shows it in /key.asc. Clients come to trust it; nothing is signed with it.
//  2. Resign makes it the signing key and signs the databases again, the
//     packages where that is asked for. The public half of the old key stays in
//     keys/retired/ and in /key.asc, because packages may still be signed by it.
//     Who deletes it from there ends that.
//
// A signing key that was replaced by hand is retired in the same way at the
// next start.

// errRetiredKey is a signature that is good, by a key of ours from before.
var errRetiredKey = errors.New("signed by a retired key")

// nextPath is where the key that is to follow the one at path lies.
func nextPath(path string) string { return strings.TrimSuffix(path, ".asc") + "-next.asc" }

func (s *Store) retiredDir() string { return s.path("keys", "retired") }

// retiredKeys are the keys this repository signed with before.
func (s *Store) retiredKeys() (openpgp.EntityList, error) {
	keys, _, err := s.keysIn("retired")
	return keys, err
}

// retire keeps the public half of a key that is not to sign any more.
func (s *Store) retire(e *openpgp.Entity) error {
	data, err := armoredKeys(openpgp.EntityList{e})
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(s.retiredDir(), 0o770); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(s.retiredDir(), fingerprint(e)+".asc"), data, 0o664)
}

// publishKeys leaves the public keys where those read them that may not see the
// secret ones: the signing key first, then the next, then the retired. The key
// that was first until now is retired, if it is another.
func (w *Writer) publishKeys() error {
	if err := w.retireReplaced(); err != nil {
		return err
	}
	var err error
	if w.retired, err = w.store.retiredKeys(); err != nil {
		return err
	}
	keys := openpgp.EntityList{w.signer.entity}
	if w.signer.next != nil {
		keys = append(keys, w.signer.next.entity)
	}
	for _, e := range w.retired {
		if fingerprint(e) != w.signer.Fingerprint() {
			keys = append(keys, e)
		}
	}
	data, err := armoredKeys(keys)
	if err != nil {
		return err
	}
	return writeChanged(w.store.publicKeyFile(), data, 0o664)
}

// writeChanged replaces path by data, and leaves it alone where it is that
// already: a start on a full or read-only disk has nothing to write.
func writeChanged(path string, data []byte, perm fs.FileMode) error {
	if was, err := os.ReadFile(path); err == nil && bytes.Equal(was, data) {
		return nil
	}
	return durable.WriteFile(path, data, perm)
}

func (w *Writer) retireReplaced() error {
	data, err := os.ReadFile(w.store.publicKeyFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	was, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
	if err != nil || len(was) == 0 {
		w.log.Warn("the public key on disk is not one, and is written anew", "file", w.store.publicKeyFile(), "err", err)
		return nil
	}
	if fingerprint(was[0]) == w.signer.Fingerprint() {
		return nil
	}
	w.log.Warn("the signing key is another than before", "was", fingerprint(was[0]), "is", w.signer.Fingerprint())
	return w.store.retire(was[0])
}

func armoredKeys(keys openpgp.EntityList) ([]byte, error) {
	return armored(openpgp.PublicKeyType, func(w io.Writer) error {
		for _, e := range keys {
			if err := e.Serialize(w); err != nil {
				return err
			}
		}
		return nil
	})
}

// announce makes the next key and shows it. Where there is one already it stays.
func (w *Writer) announce() error {
	if w.signer.next != nil {
		return nil
	}
	path := nextPath(w.signer.path)
	next, _, err := LoadOrCreateSigner(path, w.signer.passphrase, w.signer.uid())
	if err != nil {
		return notOurs(err)
	}
	w.signer.next = next
	w.log.Info("announced the next signing key", "file", path, "fingerprint", next.Fingerprint())
	return w.publishKeys()
}

// rotate makes the announced key the signing key. The old one's secret half is
// gone with the rename.
func (w *Writer) rotate() error {
	next := w.signer.next
	if next == nil {
		return nil
	}
	if err := w.store.retire(w.signer.entity); err != nil {
		return err
	}
	if err := w.signer.replaceFile(); err != nil {
		return notOurs(fmt.Errorf("replace the signing key: %w", err))
	}
	w.log.Info("signing with another key", "was", w.signer.Fingerprint(), "is", next.Fingerprint())
	next.path, next.passphrase = w.signer.path, w.signer.passphrase
	*w.signer = *next
	return w.publishKeys()
}

// replaceFile puts the next key where the signing key is. An earlier attempt may
// have done so, and failed after it.
func (s *Signer) replaceFile() error {
	if _, err := os.Stat(nextPath(s.path)); !errors.Is(err, fs.ErrNotExist) {
		return durable.Rename(nextPath(s.path), s.path)
	}
	there, _, err := LoadOrCreateSigner(s.path, s.passphrase, "")
	if err != nil {
		return err
	}
	if there.Fingerprint() != s.next.Fingerprint() {
		return refuse(ErrNotFound, "the announced key is gone")
	}
	return durable.SyncDir(filepath.Dir(s.path))
}

// notOurs tells who asked that the keys lie where only someone else may change
// them; trying again would not help.
func notOurs(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return refuse(ErrDenied, "%s", err)
	}
	return err
}

// uid is the user id of the key, as LoadOrCreateSigner takes it.
func (s *Signer) uid() string {
	for _, id := range s.entity.Identities {
		return id.Name
	}
	return ""
}

// keysIn reads every key file in keys/DIR. ok is false when there is no such
// directory.
func (s *Store) keysIn(dir string) (keys openpgp.EntityList, ok bool, err error) {
	files, err := os.ReadDir(s.path("keys", dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, f := range files {
		if durable.IsTemp(f.Name()) {
			continue
		}
		data, err := os.ReadFile(s.path("keys", dir, f.Name()))
		if err != nil {
			return nil, true, err
		}
		list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
		if err != nil {
			list, err = openpgp.ReadKeyRing(bytes.NewReader(data))
		}
		if err != nil {
			return nil, true, fmt.Errorf("keys/%s/%s: %w", dir, f.Name(), err)
		}
		keys = append(keys, list...)
	}
	return keys, true, nil
}

// uploaders reads keys/uploaders/: the keys whose package signatures are kept.
// ok is false when there is no such directory.
func (s *Store) uploaders() (keys openpgp.EntityList, ok bool, err error) {
	return s.keysIn("uploaders")
}
