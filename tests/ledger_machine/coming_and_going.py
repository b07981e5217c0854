"""People who unsubscribe, sign up, confirm it, are erased, and come back."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition

from list_manager import erase, find_traces, unsubscribe
from services.events import SuppressionReason
from tests.ledger_machine.model import Model, happens, people
from tests.ledger_machine.people import Request
from tests.ledgers import HASH_KEY
from tests.opting_in import ask, links, say_yes
from tests.people import add, who
from utils.addresses import normalise
from utils.tokens import ConfirmLink, UnsubscribeLink


class ComingAndGoing(Model):
    @happens(data=st.data(), person=people)
    def leave(self, data: st.DataObject, person: str) -> None:
        """By a link, of any mail to them or of none."""
        of_theirs = [one for one, send in self.sends.items() if send.person == person]
        send_id = data.draw(st.sampled_from([0, *of_theirs]))
        known = self.sends[send_id].subscriber if send_id else self.people.ids.get(person)
        subscriber = known or 999
        link = UnsubscribeLink(email_hash=who(person), subscriber_id=subscriber, send_id=send_id)
        with self.database.write() as session:
            unsubscribe(session, link, source="page", now=self.at.now)
        self.leaves(person, SuppressionReason.UNSUBSCRIBED)

    @happens(person=people, resubscribe=st.booleans())
    def sign_up(self, person: str, resubscribe: bool) -> None:
        """They are asked to confirm it, by a campaign of one mail."""
        before = self.people.ids.get(person)
        told = ask(self.database, person, self.at.now, resubscribe=resubscribe)
        held = person in self.people.left and not resubscribe
        assert (told.asking is None) == (held or person in self.people.active)
        subscriber = before if told.added.subscriber is None else told.added.subscriber.id
        assert before in (None, subscriber)
        if before is None and subscriber is not None:
            self.people.put_on_list(person, subscriber, pending=True)
        if told.asking is None or told.asking.campaign_id is None:
            return
        assert subscriber is not None
        self.campaigns.append(told.asking.campaign_id)
        self.wanted[told.asking.campaign_id] = {person}
        self.must[told.asking.campaign_id] = set()
        request = Request(
            campaign=told.asking.campaign_id,
            opt_in=links(self.database)[-1].opt_in_id,
            email=person,
            subscriber=subscriber,
            at=self.at.now,
            lifts=resubscribe,
        )
        self.people.requests.append(request)

    @precondition(lambda self: self.people.requests)
    @happens(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        """Press the button, in time or late, once or again."""
        request = data.draw(st.sampled_from(self.people.requests))
        link = ConfirmLink(
            email_hash=who(request.email), opt_in_id=request.opt_in, issued_at=request.at
        )
        expected = self.people.verdict(request, self.at.now)
        says = say_yes(self.database, link, self.at.now)
        assert says == ("confirmed" if expected == "open" else expected)
        if expected == "open":
            self.people.confirm(request, self.at.now)

    @precondition(lambda self: self.people.ids)
    @happens(data=st.data(), for_good=st.booleans())
    def erase(self, data: st.DataObject, for_good: bool) -> None:
        """Somebody on the list, whatever is under way to them."""
        person = data.draw(st.sampled_from(sorted(self.people.ids)))
        address = normalise(person)
        with self.database.read() as session:
            traces = find_traces(session, address.key, self.at.now)
        with self.database.write() as session:
            found = erase(
                session,
                address,
                traces,
                hash_key=HASH_KEY,
                now=self.at.now,
                for_good=for_good,
            )
        assert found
        self.people.erase(person)
        self.forget(person)
        if for_good:
            self.leaves(person, SuppressionReason.MANUAL)

    @precondition(lambda self: self.people.erased)
    @happens(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """Who was erased is added again: somebody new, and kept from mail as before."""
        person = data.draw(st.sampled_from(sorted(self.people.erased)))
        subscriber = add(self.database, person).subscriber
        assert (subscriber is None) == (person in self.people.left)
        if subscriber is not None:
            self.people.put_on_list(person, subscriber.id, pending=False)
