package job

import (
	"context"

	"github.com/nats-io/nats.go"
)

// Client asks the hub for what verbs do.
type Client struct{ nc *nats.Conn }

// NewClient uses nc, which Connect or ConnectURL has made.
func NewClient(nc *nats.Conn) *Client { return &Client{nc} }

// Close ends the connection.
func (c *Client) Close() { c.nc.Close() }

// Submit asks for jobs. After an error some may be there: to ask again joins
// them.
func (c *Client) Submit(ctx context.Context, s Submission) ([]Submitted, error) {
	return Ask[[]Submitted](ctx, c.nc, HubSubject(OpSubmit), s)
}

// Cancel ends a job that is not over.
func (c *Client) Cancel(ctx context.Context, ch Change) (*Record, error) {
	return Ask[*Record](ctx, c.nc, HubSubject(OpCancel), ch)
}

// Retry takes a job up again that has failed or was cancelled.
func (c *Client) Retry(ctx context.Context, ch Change) (*Record, error) {
	return Ask[*Record](ctx, c.nc, HubSubject(OpRetry), ch)
}

// Publishing asks whether p may go ahead, and returns the job.
func (c *Client) Publishing(ctx context.Context, p Publication) (*Record, error) {
	return Ask[*Record](ctx, c.nc, HubSubject(OpPublish), p)
}

// Builders lists the builders that were heard of lately.
func (c *Client) Builders(ctx context.Context) ([]Builder, error) {
	return Ask[[]Builder](ctx, c.nc, HubSubject(OpBuilders), struct{}{})
}
