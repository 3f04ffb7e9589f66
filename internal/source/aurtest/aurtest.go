// Package aurtest is an AUR to test against: the RPC interface, version 5, and a
// git repository for each package base, over HTTP on a loopback address. What
// its packages are comes from their .SRCINFO, and its git is git itself.
//
// It keeps no accounts and checks nothing: tests put into it what an AUR must
// never have.
package aurtest

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"serene/internal/alpm"
)

// Package is a package base and the files of its repository.
type Package struct {
	Base  string
	Files map[string]string // by path; PKGBUILD, .SRCINFO and whatever else
	Links map[string]string // symbolic links: path to target

	Maintainer   string // "" stands for "tester", "-" for an orphan
	OutOfDate    int64  // Unix seconds, 0 when it is not
	LastModified int64  // Unix seconds; 0 stands for now
}

// Server is a running AUR. Its methods may be called from several goroutines.
type Server struct {
	URL string // http://127.0.0.1:PORT

	dir  string // of bare repositories
	http http.Server
	git  http.Handler

	mu       sync.Mutex
	packages map[string]*entry // by base
	requests []string
	before   func(http.ResponseWriter, *http.Request) bool
}

// entry is a package base as the RPC interface knows it.
type entry struct {
	Package
	info *alpm.SrcInfo
}

// TB is what New wants of a *testing.T.
type TB interface {
	Helper()
	TempDir() string
	Cleanup(func())
	Fatal(args ...any)
}

// New starts a server for the time of a test, with these packages.
func New(t TB, packages ...Package) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Serve(t.TempDir(), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Add(packages...); err != nil {
		t.Fatal(err)
	}
	return s
}

// Serve starts a server on l that keeps its repositories in dir, which must be
// empty. It runs until Close.
func Serve(dir string, l net.Listener) (*Server, error) {
	git, err := gitHandler(dir)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &Server{URL: "http://" + l.Addr().String(), dir: dir, git: git, packages: make(map[string]*entry)}
	s.http.Handler = http.HandlerFunc(s.serveHTTP)
	go s.http.Serve(l)
	return s, nil
}

// Close stops the server and ends requests that are still going on.
func (s *Server) Close() error { return s.http.Close() }

// Add publishes packages, each as one more commit if its base is there already.
// A base without a .SRCINFO, or with one that does not parse, can be fetched but
// not be found.
func (s *Server) Add(packages ...Package) error {
	for _, p := range packages {
		e := &entry{Package: p}
		if text, ok := p.Files[".SRCINFO"]; ok {
			e.info, _ = alpm.ParseSrcInfo([]byte(text)) // nil when it does not parse
		}
		if e.LastModified == 0 {
			e.LastModified = time.Now().Unix()
		}
		s.mu.Lock()
		err := commit(s.dir, &e.Package)
		if err == nil {
			s.packages[p.Base] = e
		}
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("add %s: %w", p.Base, err)
		}
	}
	return nil
}

// Remove takes package bases out, as the AUR's staff does.
func (s *Server) Remove(bases ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, base := range bases {
		delete(s.packages, base)
		if err := os.RemoveAll(s.Repository(base)); err != nil {
			return err
		}
	}
	return nil
}

// Repository is the directory of a base's bare repository.
func (s *Server) Repository(base string) string { return filepath.Join(s.dir, base+".git") }

// Requests returns what has been asked so far, as "METHOD URI".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Before has f see every request first. When f returns true it has answered it.
// nil is nobody.
func (s *Server) Before(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	before := s.before
	s.mu.Unlock()
	switch {
	case before != nil && before(w, r):
	case r.URL.Path == "/rpc" || strings.HasPrefix(r.URL.Path, "/rpc/"):
		s.rpc(w, r)
	case strings.Contains(r.URL.Path, ".git/"):
		s.git.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// entries returns the bases that have a .SRCINFO, in order.
func (s *Server) entries() []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Values(s.packages))
	all = slices.DeleteFunc(all, func(e *entry) bool { return e.info == nil })
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.Base, b.Base) })
	return all
}

// FromFS makes a package of each directory of fsys, which holds its files. So a
// directory on disk and a txtar archive will do.
func FromFS(fsys fs.FS) ([]Package, error) {
	bases, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	var packages []Package
	for _, d := range bases {
		if !d.IsDir() {
			continue
		}
		p := Package{Base: d.Name(), Files: make(map[string]string)}
		err := fs.WalkDir(fsys, d.Name(), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := fs.ReadFile(fsys, name)
			p.Files[strings.TrimPrefix(name, p.Base+"/")] = string(b)
			return err
		})
		if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
	return packages, nil
}

// Simple makes a package base of one package of that name and version
// ("[EPOCH:]PKGVER-PKGREL") that installs one file and builds without sources.
// Each extra line ("depends = foo") goes into its .SRCINFO, and as an array into
// its PKGBUILD.
func Simple(name, version string, extra ...string) Package {
	epoch, rest, ok := strings.Cut(version, ":")
	if !ok {
		epoch, rest = "", version
	}
	pkgver, pkgrel, _ := strings.Cut(rest, "-")
	var info, build strings.Builder
	fmt.Fprintf(&info, "pkgbase = %s\n\tpkgdesc = %s for tests\n\tpkgver = %s\n\tpkgrel = %s\n", name, name, pkgver, pkgrel)
	fmt.Fprintf(&build, "pkgname=%s\npkgdesc='%s for tests'\npkgver=%s\npkgrel=%s\narch=(any)\nlicense=(MIT)\n", name, name, pkgver, pkgrel)
	if epoch != "" {
		fmt.Fprintf(&info, "\tepoch = %s\n", epoch)
		fmt.Fprintf(&build, "epoch=%s\n", epoch)
	}
	info.WriteString("\tarch = any\n\tlicense = MIT\n")
	for _, line := range extra {
		key, value, _ := strings.Cut(line, " = ")
		fmt.Fprintf(&info, "\t%s\n", line)
		fmt.Fprintf(&build, "%s+=('%s')\n", key, value)
	}
	fmt.Fprintf(&info, "\npkgname = %s\n", name)
	fmt.Fprintf(&build, "package() {\n\tinstall -d \"$pkgdir/usr/share/%[1]s\"\n\techo \"$pkgver\" >\"$pkgdir/usr/share/%[1]s/version\"\n}\n", name)
	return Package{Base: name, Files: map[string]string{"PKGBUILD": build.String(), ".SRCINFO": info.String()}}
}

// sortedPaths returns the paths of a package's files and links.
func (p *Package) sortedPaths() []string {
	paths := slices.Concat(slices.Collect(maps.Keys(p.Files)), slices.Collect(maps.Keys(p.Links)))
	slices.Sort(paths)
	return slices.Compact(paths)
}

// executable says which files git is told are programs.
func executable(name string) bool { return path.Ext(name) == ".sh" }
