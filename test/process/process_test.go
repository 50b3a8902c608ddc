package process

import (
	"context"
	"path/filepath"
	"testing"
)

// TestUnansweredQuestionIsAskedAgain has a server that never answers the first question, and answers the second.
func TestUnansweredQuestionIsAskedAgain(t *testing.T) {
	p, err := Launch(filepath.Join(t.TempDir(), "log"), "sleep", "300")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	asked := 0
	if err := p.Until(t.Context(), "ready", func(ctx context.Context) error {
		asked++
		if asked > 1 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}); err != nil {
		t.Error(err)
	}
}
