package inbound

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestRequestsAtATime: an address that asks much is answered no more than its share, and another one at once; who
// waits too long is told so.
func TestRequestsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at atomic.Int32
		release := make(chan struct{})
		handler := Concurrently(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			at.Add(1)
			<-release
			at.Add(-1)
		}), 3, 2, time.Second)
		ask := func(from string) *httptest.ResponseRecorder {
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.RemoteAddr = from
			answer := httptest.NewRecorder()
			go handler.ServeHTTP(answer, request)
			synctest.Wait()
			return answer
		}
		for range 10 {
			ask("192.0.2.1:1")
		}
		late := ask("192.0.2.1:2")
		if at.Load() != 2 {
			t.Errorf("%d requests of an address are answered", at.Load())
		}
		ask("192.0.2.2:1")
		tooMany := ask("192.0.2.3:1")
		if at.Load() != 3 {
			t.Errorf("%d requests are answered, of two addresses and of one that has to wait", at.Load())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if late.Code != http.StatusServiceUnavailable || tooMany.Code != http.StatusServiceUnavailable {
			t.Errorf("who waited too long is answered %d and %d", late.Code, tooMany.Code)
		}
		close(release)
		synctest.Wait()
		if last := ask("192.0.2.1:3"); last.Code != http.StatusOK || at.Load() != 0 {
			t.Errorf("afterwards the answer is %d, and %d are not done", last.Code, at.Load())
		}
		if left := handler.(*concurrent); len(left.addresses)+len(left.turns) != 0 {
			t.Errorf("%d addresses and %d turns are left", len(left.addresses), len(left.turns))
		}
	})
}
