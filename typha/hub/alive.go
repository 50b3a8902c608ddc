package hub

import (
	"context"
	"errors"
	"fmt"
)

// errStuck means that the Hub neither answers nor makes progress.
var errStuck = errors.New("the hub neither answers nor makes progress")

// Alive returns nil if the Hub answers before ctx ends, or made progress until then. A busy Hub counts its work. While
// the count grows the Hub is not stuck, however long a change takes.
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

// workDone returns the number of objects received and handed out, plus the steps of the calculation.
func (h *Hub) workDone() uint64 { return h.input.engine.Progress() + h.progress.Load() }
