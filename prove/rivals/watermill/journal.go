package main

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

type entry struct {
	ID      string `json:"id"`
	Key     string `json:"key"`
	Attempt int    `json:"attempt"`
	Fence   int64  `json:"fence"`
	Pid     int    `json:"pid"`
	At      int64  `json:"at"`
}

var passes = map[string]*atomic.Int64{"before-effect": {}, "after-effect": {}}

// One write: lines of several processes do not mix. The newline before it ends a line that a kill has torn.
func appendLine(path string, line any) {
	file := must(os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644))
	defer file.Close()
	must(file.Write([]byte("\n" + string(must(json.Marshal(line))) + "\n")))
}

// A named point: the harness may have this process die at its n-th pass.
func point(name string) {
	armed, nth, _ := strings.Cut(os.Getenv("ACKONCE_CRASH_AT"), ":")
	if pass := passes[name].Add(1); armed == name && nth == strconv.FormatInt(pass, 10) {
		hit := map[string]any{"pid": os.Getpid(), "point": name, "stops": false, "at": time.Now().UnixMicro()}
		appendLine(os.Getenv("ACKONCE_POINT_LOG"), hit)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
}

// The handler of every rival: an effect between two points.
func handle(id string, again bool) error {
	number := must(strconv.Atoi(id[1:]))
	made := entry{ID: id, Key: id, Attempt: 1, Fence: time.Now().UnixMicro(), Pid: os.Getpid(), At: time.Now().UnixMicro()}
	appendLine(os.Getenv("PROVE_DIR")+"/starts.jsonl", made)
	if number%401 == 11 {
		return nil // refused: without an effect
	}
	if !again && number%211 == 7 {
		panic("panics once, as planned")
	}
	if !again && number%97 == 5 {
		return errors.New("fails once, as planned")
	}
	time.Sleep(2 * time.Millisecond)
	point("before-effect")
	made.At = time.Now().UnixMicro()
	appendLine(os.Getenv("PROVE_DIR")+"/effects.jsonl", made)
	point("after-effect")
	time.Sleep(2 * time.Millisecond)
	return nil
}
