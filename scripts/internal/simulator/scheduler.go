package simulator

import (
	"cmp"
	"container/heap"
	"runtime"
	"slices"
	"time"
)

// scheduler runs tasks one at a time on virtual time. A task is a goroutine that gives up control only in park, so that
// the order of everything depends on the wake-up times alone: two runs with the same times are the same run.
type scheduler struct {
	now     time.Time
	current *task
	queue   wakeups
	order   uint64
	parked  map[*task]bool // waiting for their next turn
	tasks   uint64         // made
	done    chan struct{}  // the last task has ended
}

// task is a thread of the simulation: a poller, the clock's schedule, or a goroutine of a process.
type task struct {
	id      uint64
	turn    chan struct{}
	process *process // nil: not part of a process, cannot be killed
	stopped bool
	due     uint64 // the wake-up that counts; others were replaced by it
}

// injectedPanic is the value of a panic that is a fault: outside a handler's own recovery it ends the process.
type injectedPanic struct{}

// process is what a crash ends: the tasks of one invocation.
type process struct {
	dead   bool
	frozen bool
	tasks  int    // that have not ended
	ended  func() // called when the last one has
}

type wakeup struct {
	at    time.Time
	order uint64
	task  *task
}

type wakeups []wakeup

func (w wakeups) Len() int { return len(w) }
func (w wakeups) Less(i, j int) bool {
	if !w[i].at.Equal(w[j].at) {
		return w[i].at.Before(w[j].at)
	}
	return w[i].order < w[j].order
}
func (w wakeups) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *wakeups) Push(x any)   { *w = append(*w, x.(wakeup)) }
func (w *wakeups) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}

func newScheduler(start time.Time) *scheduler {
	return &scheduler{now: start, parked: map[*task]bool{}, done: make(chan struct{})}
}

// spawn makes a task that runs f after d. A task of a process ends with it.
func (s *scheduler) spawn(p *process, d time.Duration, f func()) *task {
	s.tasks++
	t := &task{id: s.tasks, turn: make(chan struct{}), process: p}
	if p != nil {
		p.tasks++
	}
	s.parked[t] = true
	s.wake(t, d)
	go func() {
		<-t.turn
		defer func() {
			switch r := recover().(type) {
			case nil:
			case injectedPanic:
				s.kill(p)
			default:
				panic(r)
			}
			if p != nil {
				if p.tasks--; p.tasks == 0 && p.ended != nil {
					p.ended()
				}
			}
			s.next(nil)
		}()
		t.check()
		f()
	}()
	return t
}

// wake gives t, which is parked or parks next, its next turn after d; an earlier arrangement no longer counts.
func (s *scheduler) wake(t *task, d time.Duration) {
	s.order++
	t.due = s.order
	heap.Push(&s.queue, wakeup{s.now.Add(max(d, 0)), s.order, t})
}

// park ends the running task's turn. It returns at the task's next one.
func (s *scheduler) park() {
	t := s.current
	t.check() // a killed task whose deferred calls come here
	s.parked[t] = true
	if !s.next(t) {
		<-t.turn
	}
	t.check()
}

// sleep is a turn's end and the next one after d.
func (s *scheduler) sleep(d time.Duration) {
	s.wake(s.current, d)
	s.park()
}

// check ends the goroutine of a task that is no more.
func (t *task) check() {
	if t.stopped || t.process != nil && t.process.dead {
		runtime.Goexit()
	}
}

// next hands the turn to the task with the earliest wake-up. same: that is t itself.
func (s *scheduler) next(t *task) (same bool) {
	for s.queue.Len() > 0 {
		w := heap.Pop(&s.queue).(wakeup)
		if w.task.due != w.order || !s.parked[w.task] {
			continue
		}
		s.now = w.at
		delete(s.parked, w.task)
		s.current = w.task
		if w.task == t {
			return true
		}
		w.task.turn <- struct{}{}
		return false
	}
	close(s.done)
	return false
}

// run runs f as the first task until it returns; all other tasks then end where they are.
func (s *scheduler) run(f func()) {
	s.spawn(nil, 0, func() {
		f()
		s.end(func(t *task) bool { t.stopped = true; return true })
	})
	s.next(nil)
	<-s.done
}

// kill ends a process at once: its tasks never get another turn but to end.
func (s *scheduler) kill(p *process) {
	p.dead = true
	s.end(func(t *task) bool { return t.process == p })
}

// end gives the parked tasks that are chosen their last turn, in the order in which they were made.
func (s *scheduler) end(chosen func(*task) bool) {
	var tasks []*task
	for t := range s.parked {
		if chosen(t) {
			tasks = append(tasks, t)
		}
	}
	slices.SortFunc(tasks, func(a, b *task) int { return cmp.Compare(a.id, b.id) })
	for _, t := range tasks {
		s.wake(t, 0)
	}
}

// parallel runs f for 0 to n-1 as tasks of the running task's process, and returns when all have ended.
func (s *scheduler) parallel(n int, jitter func(max time.Duration) time.Duration, f func(int)) {
	parent := s.current
	left := n
	for i := range n {
		s.spawn(parent.process, jitter(time.Millisecond), func() {
			defer func() {
				if left--; left == 0 {
					s.wake(parent, 0)
				}
			}()
			f(i)
		})
	}
	if n > 0 {
		s.park()
	}
}
