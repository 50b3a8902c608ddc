package memory_test

import (
	"testing"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/datastore/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		New:     func(*testing.T) datastore.Store { return memory.New() },
		Compact: func(_ *testing.T, s datastore.Store) { s.(*memory.Store).Compact() },
	})
}
