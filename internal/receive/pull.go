package receive

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"serene/internal/alpm"
	"serene/internal/repo"
)

// pull writes published files to stdout.
func pull(ctx context.Context, c *call) error {
	switch {
	case c.flags.on("tar") && c.flags.on("path"):
		return c.pullPair()
	case c.flags.on("path"):
		return c.pullPath()
	case c.flags.on("tar"):
		return c.pullTar(ctx)
	}
	name, err := c.oneOperand("NAME")
	if err != nil {
		return err
	}
	m, err := c.findOne(name)
	if err != nil {
		return err
	}
	f, err := c.Store.OpenFile(m.view.Repo, m.view.Arch, m.entry.FileName)
	if err != nil {
		return err
	}
	return c.send(f)
}

// send copies f to the client and closes it.
func (c *call) send(f *os.File) error {
	defer f.Close()
	_, err := io.Copy(c.out, f)
	return err
}

// findOne is find for verbs that need the one file meant.
func (c *call) findOne(name string) (match, error) {
	found, err := c.find(name)
	if err != nil {
		return match{}, err
	}
	for _, m := range found {
		if m.entry.FileName != found[0].entry.FileName {
			return match{}, refuse(repo.ErrUsage, "%s is in %s and %s: say --arch", name, found[0].view.Arch, m.view.Arch)
		}
	}
	return found[0], nil
}

// pullTar writes the packages named, each with its signature, as a tar that
// push - takes. Nothing is written unless all are there.
func (c *call) pullTar(ctx context.Context) error {
	if len(c.args) == 0 {
		return c.misused("no NAME given")
	}
	var found []match
	for _, name := range c.args {
		c.subject = name
		m, err := c.findOne(name)
		if err != nil {
			return err
		}
		found = append(found, m)
	}
	archive := tar.NewWriter(c.out)
	for _, m := range found {
		c.subject = m.entry.Name
		for _, file := range []string{m.entry.FileName, m.entry.FileName + ".sig"} {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if err := c.archive(archive, m, file); err != nil {
				return err
			}
		}
	}
	return archive.Close()
}

func (c *call) archive(w *tar.Writer, m match, file string) error {
	f, err := c.Store.OpenFile(m.view.Repo, m.view.Arch, file)
	if err != nil {
		return err
	}
	defer f.Close()
	return addToTar(w, file, f, time.Unix(m.entry.BuildDate, 0))
}

func addToTar(w *tar.Writer, name string, f *os.File, modified time.Time) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if modified.IsZero() {
		modified = st.ModTime()
	}
	hdr := &tar.Header{Name: name, Mode: 0o644, Size: st.Size(), ModTime: modified}
	if err := w.WriteHeader(hdr); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// pullPair writes a tar of the file that pullPath writes and of its signature.
// Those of a database are of one generation, which two pulls might not be.
func (c *call) pullPair() error {
	if len(c.args) > 0 {
		return c.misused("--path takes the place of NAME")
	}
	c.subject = c.flags.value("path")
	part := strings.Split(strings.TrimPrefix(c.subject, "/"), "/")
	name := part[len(part)-1]
	if len(part) == 3 && repo.IsGenFile(part[0], repo.GenFile(name)) {
		v, err := c.Store.View(part[0], part[1])
		if err != nil {
			return absent(err)
		}
		part = []string{v.Repo, v.Arch, "gen", strconv.FormatInt(v.Gen, 10), repo.GenFile(name)}
	}
	file, err := c.openPath(part)
	if err != nil {
		return absent(err)
	}
	defer file.Close()
	part[len(part)-1] += ".sig"
	sig, err := c.openPath(part)
	if err != nil {
		return absent(err)
	}
	defer sig.Close()
	archive := tar.NewWriter(c.out)
	if err := addToTar(archive, name, file, time.Time{}); err != nil {
		return err
	}
	if err := addToTar(archive, name+".sig", sig, time.Time{}); err != nil {
		return err
	}
	return archive.Close()
}

// absent words what is not there alike for all paths.
func absent(err error) error {
	if errors.Is(err, repo.ErrNotFound) {
		return errNoFile
	}
	return err
}

// pullPath writes the file that HTTPS has at /R/ARCH/FILE or
// /R/ARCH/gen/N/FILE, for pacman's XferCommand.
func (c *call) pullPath() error {
	if len(c.args) > 0 {
		return c.misused("--path takes the place of NAME")
	}
	c.subject = c.flags.value("path")
	f, err := c.openPath(strings.Split(strings.TrimPrefix(c.subject, "/"), "/"))
	if err != nil {
		return absent(err)
	}
	return c.send(f)
}

func (c *call) openPath(part []string) (*os.File, error) {
	if len(part) != 3 && (len(part) != 5 || part[2] != "gen") {
		return nil, repo.ErrNotFound
	}
	name, arch, file := part[0], part[1], part[len(part)-1]
	if !c.mayFetch(name, arch, file) {
		return nil, repo.ErrNotFound
	}
	if len(part) == 3 {
		return c.Store.OpenFile(name, arch, file)
	}
	gen, err := strconv.ParseInt(part[3], 10, 64)
	if err != nil {
		return nil, repo.ErrNotFound
	}
	return c.Store.OpenGen(name, arch, gen, file)
}

// mayFetch asks whether the caller may have a file by its path. Of a package
// that is no longer published only the name is known; a database names every
// package, so it takes a caller that may see them all.
func (c *call) mayFetch(name, arch, file string) bool {
	v, err := c.Store.View(name, arch)
	if err != nil {
		return false
	}
	f, err := alpm.ParseFileName(strings.TrimSuffix(file, ".sig"))
	if err != nil {
		return c.by.Rights.Packages.all && c.may(access{repo: name, arch: arch})
	}
	if e := v.Find(f.Name); e != nil && e.FileName == f.String() {
		return c.mayFind(v, e)
	}
	return c.mayFind(v, &alpm.Entry{Name: f.Name})
}
