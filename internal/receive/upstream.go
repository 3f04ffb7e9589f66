package receive

import (
	"fmt"
	"time"

	"serene/internal/upstream"
)

// upstreamRow is the state of one upstream database.
type upstreamRow struct {
	Upstream string    `json:"upstream"` // URL
	Arch     string    `json:"arch,omitempty"`
	Packages int       `json:"packages,omitempty"`
	Time     time.Time `json:"time,omitzero"`
	Note     string    `json:"note,omitempty"`
}

const notAsked = "dependencies are not checked"

func (r upstreamRow) String() string {
	line := "upstream " + r.Upstream
	if r.Note == "" {
		line += fmt.Sprintf(" packages %d of %s", r.Packages, r.Time.Format(time.RFC3339))
	}
	if r.Note != "" {
		line += ": " + r.Note
	}
	return line
}

// emitUpstream tells what the rule on dependencies knows of elsewhere.
func (c *call) emitUpstream() error {
	if c.UpstreamDir == "" {
		return nil
	}
	all, err := upstream.ReadStatus(c.UpstreamDir)
	if err != nil {
		return err
	}
	rows := []upstreamRow{}
	for _, s := range all {
		row := upstreamRow{Upstream: s.URL, Arch: s.Arch, Packages: s.Packages, Time: s.Modified}
		if !s.Known {
			row.Note = "not at hand yet: " + notAsked + " for " + s.Arch
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 && !c.flags.on("json") { // there, no line says it
		rows = append(rows, upstreamRow{Upstream: "none", Note: notAsked})
	}
	for _, row := range rows {
		if err := c.emit(row, row.String()+"\n"); err != nil {
			return err
		}
	}
	return nil
}
