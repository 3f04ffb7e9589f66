package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"serene/internal/alpm"
)

// Tree is the directory of a PKGBUILD on this machine: regular files, modes 0644
// and 0755, and symbolic links that lead to places inside it.
type Tree struct {
	Dir    string
	URL    string    // of the repository it is from; "" for a tar
	Commit string    // "" for a tar
	Time   time.Time // of the commit; zero for a tar

	PkgbuildSHA256 string // lower hex

	// SrcInfo is what .SRCINFO says. It is nil, and SrcInfoErr says why, when
	// there is none, when it does not parse, or when it does not go with the
	// PKGBUILD as far as that can be told without running it. Then makepkg has
	// to print one, in a container.
	SrcInfo    *alpm.SrcInfo
	SrcInfoErr error
}

const (
	maxPKGBUILD = 1 << 20
	maxSrcInfo  = 1 << 20
)

// readTree looks into a directory that an exporter wrote. base is what the
// .SRCINFO has to say it is, "" for anything.
func readTree(dir, base string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	pkgbuild, err := readRegular(root, "PKGBUILD", maxPKGBUILD)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errorf(ErrNotFound, "there is no PKGBUILD")
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(pkgbuild)
	t := &Tree{Dir: dir, PkgbuildSHA256: hex.EncodeToString(sum[:])}
	t.SrcInfo, t.SrcInfoErr = readSrcInfo(root, pkgbuild)
	if t.SrcInfo != nil && base != "" && t.SrcInfo.Base != base {
		return nil, errorf(ErrRefused, ".SRCINFO is of %s, not of %s", t.SrcInfo.Base, base)
	}
	return t, nil
}

func readSrcInfo(root *os.Root, pkgbuild []byte) (*alpm.SrcInfo, error) {
	b, err := readRegular(root, ".SRCINFO", maxSrcInfo)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errorf(ErrNotFound, "there is no .SRCINFO")
	}
	if err != nil {
		return nil, err
	}
	info, err := alpm.ParseSrcInfo(b)
	if err != nil {
		return nil, wrapRefused(err)
	}
	if why := stale(info, pkgbuild); why != "" {
		return nil, errorf(ErrNotFound, ".SRCINFO is out of date: %s", why)
	}
	return info, nil
}

// readRegular reads a file, but nothing through a link.
func readRegular(root *os.Root, name string, most int64) ([]byte, error) {
	st, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errorf(ErrRefused, "%s is not a regular file", name)
	}
	if st.Size() > most {
		return nil, errorf(ErrTooLarge, "%s has %d bytes, the most is %d", name, st.Size(), most)
	}
	return root.ReadFile(name)
}

// stale compares what a PKGBUILD assigns literally with .SRCINFO and returns
// what differs. It only reads: whatever needs a shell to tell is left alone.
func stale(info *alpm.SrcInfo, pkgbuild []byte) string {
	literals := make(map[string][]string)
	for line := range strings.Lines(string(pkgbuild)) {
		if key, value, ok := literal(line); ok {
			literals[key] = append(literals[key], value)
		}
	}
	for key, want := range map[string]string{"pkgbase": info.Base, "epoch": info.Epoch, "pkgver": info.PkgVer, "pkgrel": info.PkgRel} {
		if got := literals[key]; len(got) == 1 && got[0] != want {
			return key + " is " + got[0] + " in the PKGBUILD"
		}
	}
	return ""
}

// literal takes an assignment apart that stands at the beginning of a line and
// has nothing in it that a shell would expand.
func literal(line string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(strings.TrimRight(line, "\n"), "=")
	if !ok {
		return "", "", false
	}
	value, _, _ = strings.Cut(value, " #")
	value = strings.TrimRight(value, " \t\r")
	for _, quote := range []string{`"`, `'`} {
		if len(value) >= 2 && strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote) {
			value = value[1 : len(value)-1]
		}
	}
	plain := value != "" && !strings.ContainsFunc(value, func(r rune) bool { return !isAlnum(r) && !strings.ContainsRune("._+~^@-", r) })
	return key, value, plain
}
