package sshd

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

const (
	// maxKeyFile is the largest authorized_keys file, in bytes.
	maxKeyFile = 16 << 20
	// settled is how old a change must be for the file's times to tell it
	// from the next one.
	settled = 2 * time.Second
)

// KeyFile is an authorized_keys file, read again whenever it has changed. It
// is an [Authorizer].
//
// A file that is missing, not readable, or writable by everybody admits
// nobody; one that cannot be read for another reason (too many open files)
// leaves the keys as they were. Either is logged once.
type KeyFile struct {
	path         string
	checkCommand func(string) error
	log          *slog.Logger

	mu      sync.Mutex // guards what follows
	table   *keyTable
	version uint64
	info    fs.FileInfo // of the file as read; nil: read it again
	read    time.Time   // when
	sum     [sha256.Size]byte
	err     error // of the last reading
}

var _ Authorizer = (*KeyFile)(nil)

// OpenKeyFile returns the keys of the file path, which may come to be later.
// checkCommand, where not nil, says whether a forced command is one that the
// caller understands; an error makes its line unusable. A certificate's forced
// command is held against it, too. It must not call the KeyFile.
func OpenKeyFile(path string, checkCommand func(command string) error, log *slog.Logger) *KeyFile {
	k := &KeyFile{path: path, checkCommand: checkCommand, log: log, table: parseFile("", nil)}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return k
}

// Authorize implements [Authorizer].
func (k *KeyFile) Authorize(user string, remote net.Addr, key gossh.PublicKey) (*Identity, error) {
	id, err := k.current().authorize(user, remote, key)
	if err != nil {
		return nil, err
	}
	if id.Authority != "" && id.HasCommand && k.checkCommand != nil {
		if err := k.checkCommand(id.Command); err != nil {
			return nil, fmt.Errorf("certificate's forced command: %w", err)
		}
	}
	return id, nil
}

// Version implements [Authorizer].
func (k *KeyFile) Version() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return k.version
}

// Lines returns the file's keys in its order, the unusable ones included. The
// lines are shared, and not to be written to.
func (k *KeyFile) Lines() []*Line { return k.current().lines }

// Reload reads the file again even if it looks unchanged, as is needed when
// the answers of checkCommand have changed.
func (k *KeyFile) Reload() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.info, k.sum = nil, [sha256.Size]byte{}
	k.refresh()
	return k.err
}

func (k *KeyFile) current() *keyTable {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return k.table
}

// refresh reads the file again if it has changed. k.mu is held.
func (k *KeyFile) refresh() {
	if k.unchanged() {
		return
	}
	now := time.Now()
	text, info, err := readKeyFile(k.path)
	if err != nil {
		k.fail(err)
		return
	}
	sum := sha256.Sum256(text)
	same := k.err == nil && sum == k.sum
	k.info, k.read, k.sum, k.err = info, now, sum, nil
	if same {
		return
	}
	k.set(parseFile(string(text), k.checkCommand))
	k.report(info.Mode())
}

// unchanged reports whether the file is surely still the one last read. A
// change right before that reading could have been followed by one that left
// the same times behind.
func (k *KeyFile) unchanged() bool {
	if k.info == nil || k.read.Sub(k.info.ModTime()) < settled {
		return false
	}
	info, err := os.Stat(k.path)
	return err == nil && os.SameFile(info, k.info) && info.Mode() == k.info.Mode() && info.Size() == k.info.Size() &&
		info.ModTime().Equal(k.info.ModTime()) && changeTime(info) == changeTime(k.info)
}

// changeTime returns the inode's change time, which unlike the modification
// time nobody can set back; zero where the system has none.
func changeTime(info fs.FileInfo) syscall.Timespec {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ctim
	}
	return syscall.Timespec{}
}

func (k *KeyFile) set(t *keyTable) {
	k.table = t
	k.version++
}

// fail takes note of a file that could not be read.
func (k *KeyFile) fail(err error) {
	if k.err == nil || k.err.Error() != err.Error() {
		k.log.Error("authorized_keys", "err", err)
	}
	k.info, k.err = nil, err
	closed := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, errUnsafe)
	if closed && len(k.table.lines) > 0 {
		k.set(parseFile("", nil))
	}
}

// report logs what was read, and each unusable line.
func (k *KeyFile) report(mode fs.FileMode) {
	unusable := 0
	for _, l := range k.table.lines {
		if l.Err != nil {
			unusable++
			k.log.Warn("authorized_keys: unusable key", "file", k.path, "line", l.Number, "err", l.Err)
		}
	}
	if mode.Perm()&0o020 != 0 {
		k.log.Warn("authorized_keys: writable by its group", "file", k.path, "mode", mode.Perm().String())
	}
	k.log.Info("authorized_keys read", "file", k.path, "keys", len(k.table.lines)-unusable, "unusable", unusable)
}

// errUnsafe marks a file whose content anybody may have written.
var errUnsafe = errors.New("not a safe file")

func readKeyFile(path string) ([]byte, fs.FileInfo, error) {
	if err := checkPlace(path); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("%w: %s is larger than %d bytes", errUnsafe, path, maxKeyFile)
	}
	return text, info, err
}

// checkPlace refuses a file that everybody can write, or replace.
func checkPlace(path string) error {
	info, err := os.Stat(path) // before opening it: a FIFO would block
	if err != nil {
		return err
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not a regular file", errUnsafe, path)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%w: %s is writable by everybody", errUnsafe, path)
	case dir.Mode().Perm()&0o002 != 0 && dir.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("%w: the directory of %s is writable by everybody", errUnsafe, path)
	}
	return nil
}
