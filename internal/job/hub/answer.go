package hub

import (
	"encoding/json"

	"serene/internal/job"
)

// answerVerb serves what verbs ask.
func (h *Hub) answerVerb(_, op string, data []byte) (any, error) {
	switch op {
	case job.OpSubmit:
		return serve(data, h.submit)
	case job.OpCancel:
		return serve(data, h.cancelJob)
	case job.OpRetry:
		return serve(data, h.retry)
	case job.OpPublish:
		return serve(data, h.publish)
	case job.OpBuilders:
		return h.listBuilders(), nil
	}
	return nil, job.Refuse(job.ErrNotFound, "no operation %q", op)
}

// answerBuilder serves what the builder with that key asks.
func (h *Hub) answerBuilder(key, op string, data []byte) (any, error) {
	switch op {
	case job.OpClaim:
		return serve(data, func(q job.Claim) (*job.Record, error) { return h.claim(key, q) })
	case job.OpBeat:
		return serve(data, func(q job.Builder) ([]job.Stop, error) { return h.beat(key, q) })
	case job.OpReport:
		return serve(data, func(q job.Report) (job.Reply, error) { return h.report(key, q) })
	case job.OpLog:
		return serve(data, func(q job.Chunk) (job.Next, error) { return h.takeLog(key, q) })
	case job.OpContent:
		return serve(data, func(q job.Chunk) (job.Chunk, error) { return h.content(key, q) })
	}
	return nil, job.Refuse(job.ErrNotFound, "no operation %q", op)
}

func serve[Q, A any](data []byte, do func(Q) (A, error)) (any, error) {
	var q Q
	if err := json.Unmarshal(data, &q); err != nil {
		return nil, job.Refuse(job.ErrConflict, "not a request: %v", err)
	}
	return do(q)
}
