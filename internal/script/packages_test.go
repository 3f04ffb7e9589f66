package script_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"serene/internal/dev/makepkg"
)

// cmdMkpkg makes a good package in the current directory:
// mkpkg NAME VERSION [KEY=VALUE…]. Keys are those of .PKGINFO, and
//
//	ext=.pkg.tar.xz   how it is compressed; .pkg.tar.zst if not given
//	text=WORDS        what its one file says; the version if not given
//	bytes=N           one more file, of N random bytes
func (w *world) cmdMkpkg(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mkpkg NAME VERSION [KEY=VALUE…]")
	}
	dir, err := os.MkdirTemp(w.dir, "tree")
	ts.Check(err)
	defer os.RemoveAll(dir)
	tree, ext := w.tree(ts, dir, args)
	ctx, cancel := within()
	defer cancel()
	ts.Check(tree.Pack(ctx, ts.MkAbs(tree.FileName(ext))))
}

// cmdTree makes what mkpkg packs, for the script to change before pack:
// tree DIR NAME VERSION [KEY=VALUE…].
func (w *world) cmdTree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: tree DIR NAME VERSION [KEY=VALUE…]")
	}
	w.tree(ts, ts.MkAbs(args[0]), args[1:])
}

func (w *world) tree(ts *testscript.TestScript, dir string, args []string) (tree *makepkg.Tree, ext string) {
	tree = &makepkg.Tree{Dir: dir, Name: args[0], Version: args[1], Fields: map[string][]string{}}
	text, ext, random := args[1]+"\n", ".pkg.tar.zst", 0
	for _, arg := range args[2:] {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			ts.Fatalf("not KEY=VALUE: %s", arg)
		}
		switch key {
		case "ext":
			ext = value
		case "text":
			text = value + "\n"
		case "bytes":
			n, err := strconv.Atoi(value)
			ts.Check(err)
			random = n
		case "arch":
			tree.Arch = value
		default:
			tree.Fields[key] = append(tree.Fields[key], value)
		}
	}
	share := filepath.Join(dir, "usr/share", tree.Name)
	ts.Check(os.MkdirAll(share, 0o755))
	ts.Check(os.WriteFile(filepath.Join(share, "version"), []byte(text), 0o644))
	if random > 0 {
		b := make([]byte, random)
		rand.Read(b)
		ts.Check(os.WriteFile(filepath.Join(share, "data"), b, 0o644))
	}
	ts.Check(tree.Metadata())
	ctx, cancel := within()
	defer cancel()
	ts.Check(tree.MTree(ctx))
	return tree, ext
}

// cmdMtree writes a tree's .MTREE anew: mtree DIR.
func (w *world) cmdMtree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mtree DIR")
	}
	ctx, cancel := within()
	defer cancel()
	ts.Check((&makepkg.Tree{Dir: ts.MkAbs(args[0])}).MTree(ctx))
}

// cmdPack packs a tree into a file: pack DIR FILE.
func (w *world) cmdPack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pack DIR FILE")
	}
	ctx, cancel := within()
	defer cancel()
	ts.Check((&makepkg.Tree{Dir: ts.MkAbs(args[0])}).Pack(ctx, ts.MkAbs(args[1])))
}

// cmdMakepkg runs the real makepkg on the PKGBUILD in a directory and leaves the
// packages in the current one: makepkg DIR [KEY=VALUE…], the pairs being
// environment.
func (w *world) cmdMakepkg(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: makepkg DIR [KEY=VALUE…]")
	}
	ctx, cancel := within()
	defer cancel()
	_, err := makepkg.Build(ctx, ts.MkAbs(args[0]), ts.MkAbs("."), args[1:]...)
	ts.Check(err)
}

// cmdDamage changes one byte in the middle of a file: damage FILE.
func (w *world) cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage FILE")
	}
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[len(b)/2] ^= 0xff
	ts.Check(os.WriteFile(path, b, 0o644))
}
