package redirect_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/coordd/coordd/pkg/raft/redirect"
)

func ExampleRedirectToLeader() {
	api := http.NewServeMux() // reads on any member, writes on the leader
	leader := redirect.SourceFunc(func() (redirect.Leader, bool) {
		return redirect.Leader{URL: "http://n2.example:4262"}, true // from node.Status and the leader's metadata
	})
	h := redirect.RedirectToLeader(api, []string{"PUT /map/", "DELETE /map/"}, leader)

	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("PUT", "/map/city?return=old", nil))
	fmt.Println(w.Code, w.Header().Get("Location"))
	// Output: 307 http://n2.example:4262/map/city?return=old
}
