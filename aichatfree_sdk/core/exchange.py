"""The life of one answer, from signing to the last byte, as a state machine without I/O.

A driver asks for `Exchange.action`, does it, and reports what happened with the one method that the action names. It
makes no decision of its own. An answer goes so:

1. STARTING. The driver waits as long as `StartAttempt` says and reports the time and a random number. The request is
   stamped with that time and signed; every attempt is signed afresh, as servers may refuse an old stamp.
2. SENDING. The driver sends `SendRequest.request` and reports the head of the response.
3. READING, if the status is 2xx. Each chunk goes through `Exchange.feed`, which returns the text to hand on: one call
   per chunk, no objects. REFUSED for any other status: the same, but the bytes are an error's and there is no text.
4. CLOSING. By now it is settled what the attempt came to: an answer, an error, or an error that a retry can help
   against. The driver closes the response, whatever it was.
5. Back to STARTING for a retry, or FINISHED with a `Reply`, or FAILED with the error to raise.

The network may fail at 2 and 3, the server may lie at 3, and the caller may lose interest at any time: `abandon`.
TRANSITIONS is the whole of it. A pair that is not in it is a bug in this file or in a driver, and raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from attrs import field, frozen

from ..config import Settings
from ..errors import AIChatFreeError, APIStatusError, EmptyReplyError, InvalidReplyError, StreamInterruptedError
from ..reply import Reply, Timing
from .actions import Action, CloseResponse, Fail, Finish, ReadBody, SendRequest, StartAttempt
from .decoder import Decoder, UndecodableError
from .failure import FailureKind, RanOut, TransportFailure, network_error
from .limits import Limits
from .request import Request
from .response import MAX_ERROR_BYTES, ResponseHead, redact, refusal
from .retry import RetryBudget


class State(StrEnum):
    """Where an exchange is."""

    STARTING = "starting"
    SENDING = "sending"
    READING = "reading"
    REFUSED = "refused"
    CLOSING = "closing"
    FINISHED = "finished"
    FAILED = "failed"


class Event(StrEnum):
    """What a driver can report."""

    ATTEMPT_STARTED = "attempt started"
    RESPONSE_STARTED = "response started"
    BYTES = "bytes"
    ENDED = "ended"
    TRANSPORT_FAILED = "transport failed"
    CLOSED = "closed"
    ABANDONED = "abandoned"


_S, _E = State, Event
TRANSITIONS: Mapping[tuple[State, Event], frozenset[State]] = {
    (_S.STARTING, _E.ATTEMPT_STARTED): frozenset({_S.SENDING}),
    (_S.STARTING, _E.ABANDONED): frozenset({_S.FAILED}),
    (_S.SENDING, _E.RESPONSE_STARTED): frozenset({_S.READING, _S.REFUSED, _S.CLOSING}),
    (_S.SENDING, _E.TRANSPORT_FAILED): frozenset({_S.STARTING, _S.FAILED}),
    (_S.SENDING, _E.ABANDONED): frozenset({_S.FAILED}),
    (_S.READING, _E.BYTES): frozenset({_S.READING, _S.CLOSING}),
    (_S.READING, _E.ENDED): frozenset({_S.CLOSING}),
    (_S.READING, _E.TRANSPORT_FAILED): frozenset({_S.CLOSING}),
    (_S.READING, _E.ABANDONED): frozenset({_S.CLOSING}),
    (_S.REFUSED, _E.BYTES): frozenset({_S.REFUSED, _S.CLOSING}),
    (_S.REFUSED, _E.ENDED): frozenset({_S.CLOSING}),
    (_S.REFUSED, _E.TRANSPORT_FAILED): frozenset({_S.CLOSING}),
    (_S.REFUSED, _E.ABANDONED): frozenset({_S.CLOSING}),
    (_S.CLOSING, _E.CLOSED): frozenset({_S.STARTING, _S.FINISHED, _S.FAILED}),
    (_S.CLOSING, _E.ABANDONED): frozenset({_S.CLOSING}),
}


class Call(Protocol):
    """A request but for the moment it is sent at."""

    def stamp(self, time_ms: int, /) -> Request:
        """Return the request as it is sent at ``time_ms``, milliseconds since the Unix epoch."""
        ...


@frozen(eq=False, repr=False)
class _Attempt:
    """What one attempt knows of itself."""

    time_ms: int
    jitter: float
    began: float
    sensitive: tuple[str, ...] = field(repr=False)


class Exchange:
    """The state machine of one answer.

    Args:
        call: what is asked.
        settings: where, how patiently, how often.
        budget: the retries that the client has left.
        clock: a monotonic clock, seconds; it is read when something happens, and per chunk only under a total deadline.
        keep_text: whether the text that is handed on is kept, too.
    """

    def __init__(
        self,
        call: Call,
        settings: Settings,
        budget: RetryBudget,
        clock: Callable[[], float],
        *,
        keep_text: bool = True,
    ) -> None:
        self.reading = False  # True while chunks are wanted: all that the hot loop of a driver has to look at
        self.answering = False  # True from the head of an answer to the end of its body
        self._call: Call | None = call  # until there is text, after which nothing is asked again
        self._settings = settings
        self._budget = budget
        self._clock = clock
        self._began = clock()
        total = settings.timeout.total
        self._total_deadline = None if total is None else self._began + total
        self._limits = Limits(clock)
        self._attempt: _Attempt | None = None
        self._request: Request | None = None  # while it is being sent; a long history's takes megabytes
        self._head: ResponseHead | None = None
        self._decoder = self._new_decoder()
        self._kept = bytearray()  # UTF-8; in a list of str each delta would take 50 bytes besides its text
        self._keep_text = keep_text
        self._error_body = bytearray()
        self._first_text_at: float | None = None
        self._outcome: Timing | AIChatFreeError | None = None  # when it came, of an answer that is complete
        self._reply: Reply | None = None
        self._retries = 0
        self._delay: float | None = 0.0  # before the next attempt; None where there shall be none
        self._state = State.STARTING

    @property
    def state(self) -> State:
        """Where the exchange is."""
        return self._state

    @property
    def text(self) -> str:
        """The text handed on so far, where it is kept."""
        kept, reply = self._kept, self._reply  # in this order: another thread may be putting the reply together
        return kept.decode() if reply is None else reply.text

    @property
    def action(self) -> Action:
        """What the driver has to do next."""
        outcome = self._outcome
        if self._state is State.STARTING:
            assert not isinstance(outcome, Timing)  # noqa: S101 - for the type checkers: an answer is not retried
            return StartAttempt(self._retries + 1, self._delay or 0.0, outcome)
        if self._state is State.SENDING and self._request is not None:
            return SendRequest(self._request, self._limits)
        if self._state is State.CLOSING:
            return CloseResponse()
        if isinstance(outcome, Timing):
            return Finish(self._put_together)
        return ReadBody() if outcome is None else Fail(outcome)

    def attempt_started(self, *, time_ms: int, jitter: float) -> None:
        """Stamp and sign the request.

        Args:
            time_ms: the time, milliseconds since the Unix epoch.
            jitter: a random number in [0, 1), for the wait before a retry.
        """
        self._check(Event.ATTEMPT_STARTED)
        assert self._call is not None  # noqa: S101 - there is no attempt after text
        now = self._clock()
        self._request = self._call.stamp(time_ms)
        self._attempt = _Attempt(time_ms, jitter, now, self._request.sensitive)
        self._decoder = self._new_decoder()  # what an earlier attempt held back is not this one's
        self._outcome = None
        # Until there is text, the model may think: how long one silence takes does not matter, only their sum.
        first_text = self._settings.timeout.first_text
        deadlines = [self._total_deadline, None if first_text is None else now + first_text]
        self._limits = Limits(
            self._clock,
            connect=self._settings.timeout.connect,
            deadline=min((deadline for deadline in deadlines if deadline is not None), default=None),
        )
        self._move(Event.ATTEMPT_STARTED, State.SENDING)

    def response_started(self, head: ResponseHead) -> None:
        """Take the status and the headers of the response."""
        self._check(Event.RESPONSE_STARTED)
        self._head, self._request = head, None
        if not 200 <= head.status < 300:
            self._move(Event.RESPONSE_STARTED, State.REFUSED)
        elif head.content_encoding is not None:
            problem = f"the answer is compressed ({head.content_encoding[:40]!r}), which was not asked for"
            self._settle(Event.RESPONSE_STARTED, self._invalid(problem))
        else:
            self._move(Event.RESPONSE_STARTED, State.READING)

    def feed(self, chunk: bytes) -> str:
        """Take a chunk of the body and return the text it completes, ``""`` where there is none to hand on."""
        if not self.answering:
            return self._feed_refusal(chunk)
        try:
            text = self._decoder.feed(chunk)
        except UndecodableError as error:
            return self._reject(Event.BYTES, error)
        if text:
            self._hand_on(text)
        if self._total_deadline is not None and self._late:
            # The transport bounds every wait, and a server that floods us makes it wait for nothing.
            failure = TransportFailure(FailureKind.TIMEOUT)
            self._settle(Event.BYTES, self._failure(failure), failure)
        return text

    def body_ended(self) -> str:
        """Take the end of the body and return the text that was still held back."""
        if self._state is State.REFUSED:
            self._settle(Event.ENDED, self._refusal())
            return ""
        self._check(Event.ENDED)
        try:
            text, failed = self._decoder.finish()
        except UndecodableError as error:
            return self._reject(Event.ENDED, error)
        if text:
            self._hand_on(text)
        if failed:
            self._settle(Event.ENDED, self._server_failed())
        elif not self._has_text:
            self._settle(
                Event.ENDED, EmptyReplyError(f"{self._base_url} answered with nothing: rephrase the question, or retry")
            )
        else:
            self._settle(Event.ENDED, self._complete())
        return text

    def transport_failed(self, failure: TransportFailure) -> None:
        """Take what the transport raised instead of a response, a chunk, or the end."""
        self._check(Event.TRANSPORT_FAILED)
        if self._state is State.REFUSED:
            # The status has said it; the body would only have added words.
            self._settle(Event.TRANSPORT_FAILED, self._refusal())
        else:
            failure = self._without_secrets(failure)
            self._settle(Event.TRANSPORT_FAILED, self._failure(failure), failure)

    def closed(self) -> None:
        """Note that the response is closed."""
        self._check(Event.CLOSED)
        self._move(Event.CLOSED, self._next_state())

    def abandon(self) -> None:
        """Note that the caller wants no more; nothing happens once the exchange has ended."""
        if self._state in (State.FINISHED, State.FAILED):
            return
        if self._state is State.CLOSING and self._delay is None:
            return  # it is ending already, and its outcome stands
        error = StreamInterruptedError("the stream was closed before the answer ended")
        self._settle(Event.ABANDONED, error, may_retry=False)

    # The parts of the above.

    def _new_decoder(self) -> Decoder:
        return Decoder(self._settings.max_reply_bytes, self._settings.failure_trailer)

    def _check(self, event: Event, to: State | None = None) -> None:
        allowed = TRANSITIONS.get((self._state, event), frozenset())
        if not allowed if to is None else to not in allowed:
            raise RuntimeError(f"illegal transition: {event.value!r} while {self._state.value}")

    def _move(self, event: Event, to: State) -> None:
        self._check(event, to)
        self._state = to
        self.answering = to is State.READING
        self.reading = self.answering or to is State.REFUSED

    def _settle(
        self,
        event: Event,
        outcome: Timing | AIChatFreeError,
        failure: TransportFailure | None = None,
        *,
        may_retry: bool = True,
    ) -> None:
        """Fix what this attempt came to, and whether there is another."""
        open_ = self._state in (State.READING, State.REFUSED, State.CLOSING) or event is Event.RESPONSE_STARTED
        self._delay = None
        if isinstance(outcome, AIChatFreeError):
            outcome.partial_text = outcome.partial_text or self.text
            outcome.retries = self._retries
            outcome.__cause__ = failure
            if may_retry:
                self._delay = self._plan_retry(outcome, failure)
        self._outcome = outcome
        self._move(event, State.CLOSING if open_ else self._next_state())

    def _next_state(self) -> State:
        if self._delay is not None:
            self._retries += 1
            self._head = None
            self._error_body.clear()
            return State.STARTING
        return State.FINISHED if isinstance(self._outcome, Timing) else State.FAILED

    def _plan_retry(self, error: AIChatFreeError, failure: TransportFailure | None) -> float | None:
        policy = self._settings.retry
        if (
            self._has_text
            or self._attempt is None
            or not policy.covers(error, None if failure is None else failure.kind)
        ):
            return None
        retry_after = error.retry_after if isinstance(error, APIStatusError) else None
        delay = policy.delay(self._retries + 1, self._attempt.jitter, retry_after)
        if delay is None:
            return None
        if self._total_deadline is not None and self._clock() + delay >= self._total_deadline:
            return None
        return delay if self._budget.spend() else None

    def _hand_on(self, text: str) -> None:
        if self._first_text_at is None:
            self._first_text_at = self._clock()
            self._call = None
            self._limits.idle = self._settings.timeout.idle
            self._limits.deadline = self._total_deadline
        if self._keep_text:
            self._kept += text.encode()

    def _feed_refusal(self, chunk: bytes) -> str:
        self._check(Event.BYTES)
        self._error_body += chunk
        if len(self._error_body) >= MAX_ERROR_BYTES or self._late:
            self._settle(Event.BYTES, self._refusal())
        return ""

    def _reject(self, event: Event, error: UndecodableError) -> str:
        if error.text:
            self._hand_on(error.text)
        self._settle(event, self._invalid(f"the answer {error.reason}"))
        return error.text

    # The outcomes.

    @property
    def _has_text(self) -> bool:
        return self._first_text_at is not None

    @property
    def _base_url(self) -> str:
        return self._settings.base_url

    def _complete(self) -> Timing:
        assert self._first_text_at is not None  # noqa: S101 - there is text
        self._budget.refund()
        return Timing(self._first_text_at - self._began, self._clock() - self._began)

    def _put_together(self) -> Reply:
        if self._reply is None:
            head, timing = self._head, self._outcome
            assert head is not None and isinstance(timing, Timing)  # noqa: S101, PT018 - the answer is complete
            self._reply = Reply(self.text, timing, head.ended_by, self._retries, head.status, head.headers)
            self._kept = bytearray()
        return self._reply

    def _refusal(self) -> APIStatusError:
        assert self._head is not None and self._attempt is not None  # noqa: S101, PT018 - a response came
        now = self._attempt.time_ms / 1000 + self._clock() - self._attempt.began
        return refusal(
            self._head,
            bytes(self._error_body),
            base_url=self._base_url,
            now=now,
            sensitive=self._attempt.sensitive,
        )

    def _invalid(self, problem: str) -> InvalidReplyError:
        return InvalidReplyError(f"{self._base_url}: {problem}; check that the base URL is an AIChatFree server's")

    def _server_failed(self) -> StreamInterruptedError:
        if self._has_text:
            return StreamInterruptedError(
                f"{self._base_url}: the model failed in the middle of the answer (a safety stop, or an error): "
                "the text so far is in partial_text; ask again or rephrase"
            )
        return StreamInterruptedError(
            f"{self._base_url}: the model failed before any text, most often because it blocked the prompt: rephrase it"
        )

    def _failure(self, failure: TransportFailure) -> AIChatFreeError:
        return network_error(
            failure,
            base_url=self._base_url,
            timeout=self._settings.timeout,
            ran_out=self._ran_out(),
            answering=self.answering,
            has_text=self._has_text,
        )

    def _without_secrets(self, failure: TransportFailure) -> TransportFailure:
        """Return ``failure``, which may quote bytes of the server's that quote ours, fit to be shown."""
        failure.__context__ = failure.__cause__  # what a transport raised it `from None` of may quote them, too
        detail = redact(failure.detail, () if self._attempt is None else self._attempt.sensitive)
        return failure if detail == failure.detail else TransportFailure(failure.kind, detail)

    @property
    def _late(self) -> bool:
        return self._total_deadline is not None and self._clock() >= self._total_deadline

    def _ran_out(self) -> RanOut:
        deadline = self._limits.deadline
        if deadline is None or self._clock() < deadline - _TIMER_SLACK:
            return None
        return "total" if deadline == self._total_deadline else "first_text"


# Event loops fire a timer up to their clock's resolution early; this is more, and less than anybody can tell.
_TIMER_SLACK = 0.01
