package stream

import (
	"bytes"
	"time"

	"github.com/maneki-net/maneki/typha/wire"
)

// NodeAnswer is what a node last reported on itself because it was asked to.
type NodeAnswer struct {
	Node string
	wire.StatusAnswer
	// Said is when the node last said so, by the observer's clock.
	Said time.Time
}

// answer is what a session's node last reported. The content is immutable.
type answer struct {
	content *wire.StatusAnswer // nil if it has reported nothing
	said    time.Time
}

// Answer implements Source.
func (s *Session) Answer(a wire.StatusAnswer) {
	s.hub.post(func() { s.answered(a) })
}

// answered takes in an answer. What nobody asked for is not kept.
func (s *Session) answered(a wire.StatusAnswer) {
	asked := s.hub.entries[wire.ID{Kind: wire.KindStatusRequest, Name: s.node.name}]
	switch {
	case asked == nil || asked.object == nil:
		s.answer.content = nil
		return
	case len(a.Status) == 0 || len(a.Status) > wire.MaxStatusAnswer:
		return // no node of ours reports nothing or as much
	case !sameAnswer(s.answer.content, &a):
		s.answer.content = &a
	}
	s.answer.said = time.Now()
	for o := range s.hub.observers {
		o.answers[s.node.name] = struct{}{}
	}
}

func sameAnswer(a, b *wire.StatusAnswer) bool {
	return a != nil && a.Omitted == b.Omitted && bytes.Equal(a.Status, b.Status)
}

// nodeAnswer is a NodeAnswer as it is sent.
type nodeAnswer struct {
	Node string `cbor:"1,keyasint"`
	// Answer is empty if it is the one that was sent before.
	Answer wire.StatusAnswer `cbor:"2,keyasint"`
	// AgeSeconds is how long ago the node said so.
	AgeSeconds float64 `cbor:"3,keyasint,omitempty"`
}

// answersOf returns the marked answers, and notes what is sent. An answer without a status is the one that was sent
// before.
func (o *observer) answersOf(names []string) (answers []NodeAnswer) {
	for _, name := range names {
		s := o.hub.nodes[name].newest()
		if s == nil || s.answer.content == nil {
			delete(o.sent, name)
			continue
		}
		a := NodeAnswer{Node: name, Said: s.answer.said}
		if o.sent[name] != s.answer.content {
			o.sent[name] = s.answer.content
			a.StatusAnswer = *s.answer.content
		}
		answers = append(answers, a)
	}
	return answers
}

// sendAnswers sends the latest answer whenever there is one, also if it is the same as before: Typha does not keep one that
// comes between two requests.
func (c *Client) sendAnswers(up *call, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-c.answered:
		}
		c.mu.Lock()
		a := c.answer
		c.mu.Unlock()
		if err := up.send(frameAnswer, a); err != nil {
			return // reading sees how the stream ended
		}
	}
}

// Answer implements Source.
func (c *Client) Answer(a wire.StatusAnswer) {
	c.mu.Lock()
	c.answer = a
	c.mu.Unlock()
	select {
	case c.answered <- struct{}{}:
	default: // one is due already and will take this value
	}
}

// Answer implements Source.
func (l *localSource) Answer(a wire.StatusAnswer) {
	if s := l.session.Load(); s != nil {
		s.Answer(a)
	}
}
