package build

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"serene/internal/alpm"
)

// collect takes the packages out of the container: of what really lies there
// only regular files, only with names that the recipe may produce, and only
// what reads as the package it says it is.
func (b *run) collect(ctx context.Context) ([]*alpm.Package, error) {
	r, err := b.sandbox.engine.Get(ctx, b.c, pkgDest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	out, err := os.OpenRoot(b.Out)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c := &collector{recipe: b.Recipe, out: out}
	if err := c.all(ctx, tar.NewReader(r)); err != nil {
		return nil, err
	}
	for _, p := range c.packages {
		if _, err := fmt.Fprintf(b.out, "  -> %s %s\n", p.File, size(p.Size)); err != nil {
			return nil, err
		}
	}
	return c.packages, nil
}

type collector struct {
	recipe   *Recipe
	out      *os.Root
	packages []*alpm.Package
}

func (c *collector) all(ctx context.Context, t *tar.Reader) error {
	for {
		h, err := t.Next()
		if err == io.EOF {
			return c.complete()
		}
		if err != nil {
			return fmt.Errorf("collect: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir && path.Clean(h.Name) == path.Base(pkgDest) {
			continue
		}
		if err := c.one(h, t); err != nil {
			return err
		}
	}
}

// refuse is a failure of the package: its output is not what was asked for.
func refuse(format string, args ...any) error {
	return &Failure{CausePackage, oneLine(fmt.Sprintf(format, args...))}
}

func (c *collector) one(h *tar.Header, r io.Reader) error {
	name, ok := strings.CutPrefix(path.Clean(h.Name), path.Base(pkgDest)+"/")
	if !ok || strings.Contains(name, "/") {
		return refuse("output: %q is not at the top of PKGDEST", h.Name)
	}
	if h.Typeflag != tar.TypeReg {
		return refuse("output: %q is not a regular file", name)
	}
	file, err := alpm.ParseFileName(name)
	if err != nil {
		return refuse("output: %q is not the name of a package", name)
	}
	if err := c.allowed(file); err != nil {
		return err
	}
	if limit := c.recipe.Limits.Package; limit > 0 && h.Size > limit {
		return refuse("output: %s has %d bytes, more than %s", name, h.Size, size(limit))
	}
	return c.take(name, h.Size, r)
}

// allowed says whether the recipe may produce a package of this name.
func (c *collector) allowed(f alpm.FileName) error {
	r := c.recipe
	if !slices.Contains(r.Packages, f.Name) && f.Name != r.Base+"-debug" {
		return refuse("output: %s is none of this PKGBUILD's packages", f)
	}
	if f.Arch != "any" && f.Arch != r.Arch {
		return refuse("output: %s is not for %s", f, r.Arch)
	}
	for _, p := range c.packages {
		if p.File.Name == f.Name {
			return refuse("output: both %s and %s", p.File, f)
		}
		if p.File.Version != f.Version {
			return refuse("output: %s and %s are not of one version", p.File, f)
		}
	}
	return nil
}

// take copies one package and reads it in the same pass.
func (c *collector) take(name string, size int64, r io.Reader) error {
	f, err := c.out.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	limits := alpm.DefaultLimits()
	if c.recipe.Limits.Package > 0 {
		limits.Size = c.recipe.Limits.Package
	}
	p, err := alpm.ReadPackage(io.TeeReader(r, f), name, limits)
	err = errors.Join(err, f.Close())
	var fault *alpm.Fault
	if errors.As(err, &fault) {
		return refuse("output: %s: %s", name, fault)
	}
	if err != nil {
		return fmt.Errorf("collect %s: %w", name, err)
	}
	if p.Info.Base != c.recipe.Base {
		return refuse("output: %s is of the package base %q", name, p.Info.Base)
	}
	if p.Size != size {
		return fmt.Errorf("collect %s: %d bytes of %d", name, p.Size, size)
	}
	c.packages = append(c.packages, p)
	return nil
}

func (c *collector) complete() error {
	for _, want := range c.recipe.Packages {
		if !slices.ContainsFunc(c.packages, func(p *alpm.Package) bool { return p.File.Name == want }) {
			return refuse("output: no package %s", want)
		}
	}
	slices.SortFunc(c.packages, func(a, b *alpm.Package) int { return strings.Compare(a.File.Name, b.File.Name) })
	return nil
}

// getFile reads one regular file of at most limit bytes.
func getFile(ctx context.Context, e Engine, c Container, name string, limit int64) ([]byte, error) {
	r, err := e.Get(ctx, c, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	t := tar.NewReader(r)
	h, err := t.Next()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if h.Typeflag != tar.TypeReg || h.Size > limit {
		return nil, refuse("%s is no regular file of at most %d bytes", name, limit)
	}
	return io.ReadAll(t)
}

// builder finds the user "build" in the text of a passwd file.
func builder(passwd string) (owner, error) {
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || f[0] != "build" {
			continue
		}
		uid, err1 := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		if err := errors.Join(err1, err2); err != nil || uid == 0 {
			return owner{}, fmt.Errorf("user build: uid %q, gid %q", f[2], f[3])
		}
		return owner{uid, gid}, nil
	}
	return owner{}, errors.New("there is no user build")
}
