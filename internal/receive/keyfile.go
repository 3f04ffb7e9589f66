package receive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"serene/internal/durable"
	"serene/internal/repo"
	"serene/sshd"
)

// maxKeyFile is the largest authorized_keys that is edited, in bytes.
const maxKeyFile = 16 << 20

// keyFile is an authorized_keys file. Every line of it that is not changed
// stays as it is, comments and blank lines included.
type keyFile string

// keyLine is one line, and the key it names.
type keyLine struct {
	text string     // with its newline
	key  *sshd.Line // nil for a blank line or a comment
}

// lines reads the file.
func (k keyFile) lines() ([]keyLine, error) {
	f, err := os.Open(string(k))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readKeyLines(f)
}

func readKeyLines(r io.Reader) (lines []keyLine, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("authorized_keys has more than %d bytes", maxKeyFile)
	}
	for text := range strings.Lines(string(data)) {
		line := keyLine{text: text}
		if key, ok := sshd.ParseLine(len(lines)+1, text); ok {
			line.key = key
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// edit replaces the file by what change makes of its lines, whole and durably.
// Two edits at once take turns. An editor of another kind, which takes no lock,
// may still lose to this one.
func (k keyFile) edit(change func([]keyLine) ([]keyLine, error)) error {
	path, err := filepath.EvalSymlinks(string(k))
	if err != nil {
		return err
	}
	f, err := openLocked(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	lines, err := readKeyLines(f)
	if err != nil {
		return err
	}
	if lines, err = change(lines); err != nil {
		return err
	}
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(line.text)
	}
	err = durable.WriteFile(path, []byte(text.String()), info.Mode().Perm())
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return errors.Join(refuse(repo.ErrDenied, "authorized_keys is not this server's to change"), err)
	}
	return err
}

// AppendKey adds a line, of a key and its rights, to the authorized_keys file
// path, as keys add does.
func AppendKey(path, line string) error {
	return keyFile(path).edit(func(lines []keyLine) ([]keyLine, error) {
		return appendLine(lines, keyLine{text: line}), nil
	})
}

// appendLine puts a line behind lines, the last of which may lack its end.
func appendLine(lines []keyLine, line keyLine) []keyLine {
	if n := len(lines); n > 0 && !strings.HasSuffix(lines[n-1].text, "\n") {
		lines[n-1].text += "\n"
	}
	return append(lines, line)
}

// openLocked opens the file that has this name once it is locked: whoever held
// the lock before has renamed another one to it.
func openLocked(path string) (*os.File, error) {
	for {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		opened, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		named, err := os.Stat(path)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if os.SameFile(opened, named) {
			return f, nil
		}
		f.Close()
	}
}
