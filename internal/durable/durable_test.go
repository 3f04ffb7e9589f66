package durable

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// faulty has the n-th operation fail as f says, and notes all of them.
func faulty(t *testing.T, n int, f Fault) *[]Op {
	var ops []Op
	InjectFaults(t, func(op Op, _ string) Fault {
		if ops = append(ops, op); len(ops) == n {
			return f
		}
		return NoFault
	})
	return &ops
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The order is what survives a power cut: bytes, name, directory.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	ops := faulty(t, 0, NoFault)
	if err := WriteFile(filepath.Join(dir, "a"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if want := []Op{OpSync, OpRename, OpSyncDir, OpSymlink, OpRename, OpSyncDir}; !slices.Equal(*ops, want) {
		t.Errorf("operations %v, want %v", *ops, want)
	}
}

// After an error the file holds what it held, or, where the rename was done, what
// it was to hold; nothing in between, and nothing is left beside it.
func TestWriteFileFails(t *testing.T) {
	for _, c := range []struct {
		n    int
		f    Fault
		want string
	}{
		{1, Failed, "old"}, {1, FailedPersisted, "old"},
		{2, Failed, "old"}, {2, FailedPersisted, "new"},
		{3, Failed, "new"}, {3, FailedPersisted, "new"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "a")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		faulty(t, c.n, c.f)
		if err := WriteFile(path, []byte("new"), 0o600); err == nil {
			t.Errorf("operation %d: no error", c.n)
		}
		if got := read(t, path); got != c.want {
			t.Errorf("operation %d, fault %d: holds %q, want %q", c.n, c.f, got, c.want)
		}
		if left, err := os.ReadDir(dir); len(left) != 1 || err != nil {
			t.Errorf("operation %d: left %v, %v", c.n, left, err)
		}
	}
}

func TestSymlinkReplaces(t *testing.T) {
	link := filepath.Join(t.TempDir(), "current")
	for _, target := range []string{"gen/1", "gen/2"} {
		if err := Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(link); got != target || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	faulty(t, 1, FailedPersisted) // leaves the link aside behind
	if err := Symlink("gen/3", link); err == nil {
		t.Error("no error")
	}
	if err := Symlink("gen/3", link); err != nil {
		t.Error(err)
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	if err := MkdirAll(filepath.Join(dir, "a", "b"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if MkdirAll(filepath.Join(dir, "f"), 0o750) == nil || MkdirAll(filepath.Join(dir, "f", "x"), 0o750) == nil {
		t.Error("a file is taken for a directory")
	}
}

func TestCreateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := CreateFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CreateFile(path, []byte("y"), 0o600); err == nil || read(t, path) != "x" {
		t.Error("a file is replaced")
	}
	if !IsTemp(".aside-1") || IsTemp(".aside-") || IsTemp("a") {
		t.Error("IsTemp")
	}
}
