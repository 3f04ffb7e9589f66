package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"serene/internal/job"
)

const (
	// queueAgain is how long is waited before the queue is tried again.
	queueAgain = 500 * time.Millisecond
	// queueAnswer bounds one try: a cluster that has no leader yet never answers.
	queueAnswer = 5 * time.Second
)

// openQueue makes the stream and a consumer for each architecture. An external
// cluster may still be starting, so it is asked for a while.
func (h *Hub) openQueue() error {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	again := time.NewTicker(queueAgain)
	defer again.Stop()
	for {
		err := h.makeQueue(ctx)
		if err == nil {
			return nil
		}
		if noCluster(err) {
			return fmt.Errorf("queue.replicas = %d: a server that is in no cluster keeps 1", h.opt.Replicas)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("not there within %s: %w", startWithin, err)
		}
	}
}

func (h *Hub) makeQueue(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, queueAnswer)
	defer cancel()
	h.stream, err = h.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: job.Stream, Subjects: []string{job.AllJobs},
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
		Replicas: h.opt.Replicas,
	})
	if err != nil {
		return err
	}
	for _, arch := range h.opt.Arches {
		_, err := h.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: job.Consumer(arch), FilterSubject: job.JobSubject(arch),
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: h.opt.Lease, MaxDeliver: -1, MaxAckPending: 10_000,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// noCluster reports whether err is a single server's answer to who wants more
// than one copy.
func noCluster(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && server.ErrorIdentifier(refused.ErrorCode) == server.JSStreamReplicasNotSupportedErr
}
