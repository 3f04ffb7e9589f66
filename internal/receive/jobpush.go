package receive

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"serene/internal/alpm"
	"serene/internal/job"
	"serene/internal/repo"
)

// A builder pushes with rights limited to a job: it must be running, on that
// key, in that attempt, and each package must be one that the job makes and
// that whoever asked for it may have built.

// jobPush is the job that a push is for.
type jobPush struct {
	record *job.Record
	asked  job.Publication
	rights Rights // of the key that asked for the job
}

// mayPushFreely asks whether the caller may push what is for no job. A key that
// may push because it is a builder's may not.
func (c *call) mayPushFreely() error {
	v := c.by.Rights.Verbs
	if c.flags.on("job") || v.has(c.verb.name) || v.has(groupPush) {
		return nil
	}
	return refuse(repo.ErrDenied, "this key pushes for jobs only: --job")
}

// jobOfPush is the job that --job names, nil without it.
func (c *call) jobOfPush(ctx context.Context) (*jobPush, error) {
	if !c.flags.on("job") {
		return nil, nil
	}
	id, err := job.ParseID(c.flags.value("job"))
	if err != nil {
		return nil, refuse(repo.ErrUsage, "--job: %s", err)
	}
	attempt, err := strconv.ParseInt(c.flags.value("attempt"), 10, 64)
	if err != nil {
		return nil, refuse(repo.ErrUsage, "--job needs --attempt N")
	}
	p := &jobPush{asked: job.Publication{Job: id, Attempt: attempt, Key: c.by.Key}}
	return p, c.askPublish(ctx, p)
}

// askPublish asks the hub whether the push may go on.
func (c *call) askPublish(ctx context.Context, p *jobPush) error {
	queue, err := c.queue()
	if err != nil {
		return err
	}
	if p.record, err = queue.Publishing(ctx, p.asked); err != nil {
		return jobError(err)
	}
	return json.Unmarshal(p.record.By.Rights, &p.rights)
}

// mayAdd asks whether pkg may come from the job.
func (p *jobPush) mayAdd(target string, pkg *alpm.Package) error {
	i := &pkg.Info
	if target != p.record.Repo {
		return refuse(repo.ErrDenied, "the job is for %s", p.record.Repo)
	}
	if err := p.record.Allows(i.Base, i.Name, string(i.Version), i.Arch); err != nil {
		return refuse(repo.ErrDenied, "%s", err)
	}
	name := i.Name
	if i.IsDebug() {
		name = strings.TrimSuffix(name, repo.DebugSuffix)
	}
	if !p.rights.allow(access{verb: buildVerb(), repo: target, arch: p.record.Arch, base: i.Base, name: name}) {
		return refuse(repo.ErrDenied, "%s, who asked for the job, may not have %s built", p.record.By.Name(), i.Name)
	}
	return nil
}

// commit makes sure that the job still is as it was when the push began, and
// says in tx where the packages come from.
func (p *jobPush) commit(ctx context.Context, c *call, tx *repo.Tx) error {
	p.asked.Commit = true
	if err := c.askPublish(ctx, p); err != nil {
		return err
	}
	sum, size, err := c.Builds.LogSHA256(p.record.ID)
	if err != nil {
		return err
	}
	said, err := json.Marshal(p.record.Provenance(sum, size))
	if err != nil {
		return err
	}
	tx.Provenance(said)
	return nil
}

// buildVerb is the row of the verb build.
func buildVerb() *verb {
	for _, v := range jobVerbs() {
		if v.name == "build" {
			return &v
		}
	}
	panic("no verb build")
}

// AllowBuild says why whoever asked for a job may not have base built for a
// repository, or nil: what a job needs is asked for in their name.
func AllowBuild(by job.Asker, target, arch, base string) error {
	var r Rights
	if err := json.Unmarshal(by.Rights, &r); err != nil {
		return fmt.Errorf("rights of %s: %w", by.Name(), err)
	}
	if !r.allow(access{verb: buildVerb(), repo: target, arch: arch, base: base}) {
		return fmt.Errorf("%s may not have it built", by.Name())
	}
	return nil
}

// MayWork reports whether a key with these rights may be a builder's, and for
// which architectures: nil for all.
func (r Rights) MayWork() (arches []string, ok bool) {
	return r.Arches.list(), r.Verbs.has(groupWork)
}

// MarshalJSON writes the words of the set, or null for everything.
func (s Set) MarshalJSON() ([]byte, error) {
	if s.all {
		return []byte("null"), nil
	}
	return json.Marshal(append([]string{}, s.words...))
}

// UnmarshalJSON takes what MarshalJSON has written.
func (s *Set) UnmarshalJSON(b []byte) error {
	*s = Set{all: string(b) == "null"}
	if s.all {
		return nil
	}
	return json.Unmarshal(b, &s.words)
}
