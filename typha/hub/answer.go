package hub

import (
	"bytes"
	"time"

	"github.com/maneki-net/maneki/typha/wire"
)

// NodeAnswer is what a node last reported on itself because a wire.StatusRequest asked it to.
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

// answered stores an answer, unless the node is not asked. It ignores answers of a length that no Felix sends.
func (s *Session) answered(a wire.StatusAnswer) {
	name := s.node.name
	switch {
	case s.hub.store.needed(s.node, wire.ID{Kind: wire.KindStatusRequest, Name: name}) == nil:
		s.answer.content = nil
		return
	case len(a.Status) == 0 || len(a.Status) > wire.MaxStatusAnswer:
		return
	case !sameAnswer(s.answer.content, &a):
		s.answer.content = &a
	}
	s.answer.said = time.Now()
	s.hub.observers.answerChanged(name)
}

func sameAnswer(a, b *wire.StatusAnswer) bool {
	return a != nil && a.Omitted == b.Omitted && bytes.Equal(a.Status, b.Status)
}

// answersOf returns the answers of nodes, and notes that the reader gets them. An answer without a status is the one
// that the reader has.
func (o *Observer) answersOf(names []string) (answers []NodeAnswer) {
	for _, name := range names {
		s := o.store.nodes[name].newest()
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
