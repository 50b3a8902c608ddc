package stream

import (
	"context"
	"errors"
	"fmt"
)

// errStuck says that the hub neither answers nor gets on.
var errStuck = errors.New("the hub neither answers nor gets on with its work")

// Alive returns nil if the Hub answers before ctx ends, or was at work until then. A Hub that is busy counts what it does: as
// long as the count grows it is not stuck, however long a change takes.
func (h *Hub) Alive(ctx context.Context) error {
	before := h.workDone()
	err := h.call(ctx, func() {})
	if err == nil || ctx.Err() == nil {
		return err
	}
	if h.workDone() == before {
		return fmt.Errorf("%w: %w", errStuck, err)
	}
	return nil
}

// workDone counts the objects that were taken in and handed out and the steps of the calculation.
func (h *Hub) workDone() uint64 { return h.engine.Progress() + h.progress.Load() }
