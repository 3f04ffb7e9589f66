package alpm

// Package is what one pass over a package file has found. It survives a round
// trip through JSON.
type Package struct {
	File     FileName
	Info     PkgInfo
	Build    *BuildInfo // nil when absent and not required
	Files    []string   // raw paths of the data, byte-sorted, directories end in "/"
	Size     int64      // bytes of the package file
	SHA256   string     // of the package file, lower hex
	Warnings []string   // oddities that do not forbid the package, a line each

	// Digest is the state of crypto/sha256 that SHA256 is the sum of: what a
	// signature goes on from, so that who makes one need not read the file again.
	Digest []byte `json:",omitempty"`
}

// Entry is the package's entry in a sync database, white space collapsed.
func (p *Package) Entry() *Entry {
	i := &p.Info
	return &Entry{
		FileName: p.File.String(), Name: i.Name, Base: i.Base, Version: i.Version,
		Desc: collapse(i.Desc), Groups: collapseAll(i.Groups),
		CSize: p.Size, ISize: i.Size, SHA256: p.SHA256,
		URL: collapse(i.URL), Licenses: collapseAll(i.Licenses), Arch: i.Arch,
		BuildDate: i.BuildDate, Packager: collapse(i.Packager),
		Replaces: collapseAll(i.Replaces), Conflicts: collapseAll(i.Conflicts), Provides: collapseAll(i.Provides),
		Depends: collapseAll(i.Depends), OptDepends: collapseAll(i.OptDepends),
		MakeDepends: collapseAll(i.MakeDepends), CheckDepends: collapseAll(i.CheckDepends),
	}
}

func collapseAll(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, collapse(s))
	}
	return out
}
