package receive

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"serene/internal/alpm"
	"serene/internal/job"
)

// infoRow is all that is known of one package in one database. Arch is the
// database's, PkgArch the package's own.
type infoRow struct {
	*alpm.Entry
	Arch    string `json:"arch"`
	PkgArch string `json:"pkgarch"`
	Repo    string `json:"repo"`
	Gen     int64  `json:"gen"`

	// Provenance is what is known of where the package file comes from.
	Provenance json.RawMessage `json:"provenance,omitempty"`
}

func info(_ context.Context, c *call) error {
	name, err := c.oneOperand("NAME")
	if err != nil {
		return err
	}
	found, err := c.find(name)
	if err != nil {
		return err
	}
	for i, m := range found {
		said, err := c.Store.Provenance(m.view.Repo, m.entry.FileName)
		if err != nil {
			return err
		}
		text := m.describe() + describeOrigin(said)
		if i > 0 {
			text = "\n" + text
		}
		row := infoRow{m.entry, m.view.Arch, m.entry.Arch, m.view.Repo, m.view.Gen, said}
		if err := c.emit(row, text); err != nil {
			return err
		}
	}
	return nil
}

// describe words a package as pacman -Si does.
func (m match) describe() string {
	e := m.entry
	var b strings.Builder
	for _, f := range []struct {
		label  string
		values []string
	}{
		{"Repository", []string{m.view.Repo + "/" + m.view.Arch}},
		{"Generation", []string{fmt.Sprint(m.view.Gen)}},
		{"Name", []string{e.Name}},
		{"Base", []string{e.Base}},
		{"Version", []string{string(e.Version)}},
		{"Description", []string{e.Desc}},
		{"Architecture", []string{e.Arch}},
		{"URL", []string{e.URL}},
		{"Licenses", e.Licenses},
		{"Groups", e.Groups},
		{"Provides", e.Provides},
		{"Depends On", e.Depends},
		{"Optional Deps", e.OptDepends},
		{"Make Deps", e.MakeDepends},
		{"Check Deps", e.CheckDepends},
		{"Conflicts With", e.Conflicts},
		{"Replaces", e.Replaces},
		{"Download Size", []string{formatBytes(e.CSize)}},
		{"Installed Size", []string{formatBytes(e.ISize)}},
		{"Packager", []string{e.Packager}},
		{"Build Date", []string{time.Unix(e.BuildDate, 0).UTC().Format(time.RFC3339)}},
		{"File", []string{e.FileName}},
		{"SHA-256 Sum", []string{e.SHA256}},
	} {
		value := strings.Join(f.values, "  ")
		if value == "" {
			value = "None"
		}
		fmt.Fprintf(&b, "%-15s : %s\n", f.label, value)
	}
	return b.String()
}

// describeOrigin words what a build has said of a package.
func describeOrigin(said json.RawMessage) string {
	var p job.Provenance
	if said == nil || json.Unmarshal(said, &p) != nil || p.Job == "" {
		return ""
	}
	var b strings.Builder
	for _, f := range [][2]string{
		{"Built By Job", string(p.Job)},
		{"Asked For By", oneLine(strings.TrimSpace(p.Comment + " " + p.Key))},
		{"Source", oneLine(strings.TrimSpace(p.URL + " " + p.Commit))},
		{"PKGBUILD", "sha256:" + p.PkgbuildSHA256},
		{"Builder", oneLine(p.Builder + " " + p.BuilderKey)},
		{"Image", oneLine(p.Image)},
		{"Log", "sha256:" + p.LogSHA256},
	} {
		fmt.Fprintf(&b, "%-15s : %s\n", f[0], f[1])
	}
	return b.String()
}
