package repo

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"serene/internal/alpm"
)

// readRequest reads tx.json of the transaction in dir. It trusts nothing the
// rules or the pool do not check again, but the file names, which it checks.
// id is what it must be of, "" where that does not matter.
func readRequest(dir, id string) (*request, error) {
	data, err := os.ReadFile(filepath.Join(dir, requestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse(ErrContent, "there is no %s", requestFile)
	}
	if err != nil {
		return nil, err
	}
	req := new(request)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(req); err != nil {
		return nil, refuse(ErrContent, "%s: %s", requestFile, err)
	}
	req.dir = dir
	if id != "" && req.ID != id {
		return nil, refuse(ErrContent, "%s is of transaction %q", requestFile, req.ID)
	}
	for _, p := range req.Packages {
		if err := checkDescribed(dir, p); err != nil {
			return nil, err
		}
	}
	return req, nil
}

// readAgain has the writer read every file: they have lain about since they were
// written.
func (req *request) readAgain() {
	for _, p := range req.Packages {
		p.Digest = nil
	}
}

// checkDescribed makes sure that p is about a regular file of its own name in
// dir.
func checkDescribed(dir string, p *alpm.Package) error {
	if p == nil {
		return refuse(ErrContent, "%s describes no package", requestFile)
	}
	name := alpm.FileName{Name: p.Info.Name, Version: p.Info.Version, Arch: p.Info.Arch, Ext: p.File.Ext}
	if _, err := alpm.ParseFileName(name.String()); err != nil || name != p.File {
		return refuse(ErrContent, "%s describes %q as %q", requestFile, p.File, name)
	}
	st, err := os.Lstat(filepath.Join(dir, name.String()))
	if err != nil || !st.Mode().IsRegular() {
		return refuse(ErrContent, "%s: no such file in the transaction", name)
	}
	return nil
}
