package admission

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestManyQuestionsFewReadings: however many ask, there is one reading at a time and few a second, and nobody is told
// what is older than his question.
func TestManyQuestionsFewReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		readings, at := 0, 0
		s := shared[time.Time]{every: 100 * time.Millisecond, read: func(context.Context) (time.Time, error) {
			readings++
			at++
			if at > 1 {
				t.Errorf("%d readings at a time", at)
			}
			began := time.Now()
			time.Sleep(10 * time.Millisecond)
			at--
			return began, nil
		}}
		began := time.Now()
		var asking sync.WaitGroup
		for n := range 1000 {
			asking.Go(func() {
				time.Sleep(time.Duration(n) * time.Millisecond)
				asked := time.Now()
				if told, err := s.get(t.Context()); err != nil || told.Before(asked) {
					t.Errorf("asked at %s, told of %s, %v", asked, told, err)
				}
			})
		}
		asking.Wait()
		if most := 2 + int(time.Since(began)/s.every); readings > most {
			t.Errorf("%d readings in %s", readings, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.get(ctx); err == nil {
			t.Error("who gave up was told")
		}
		time.Sleep(time.Second) // the reading that he asked for ends
	})
}
