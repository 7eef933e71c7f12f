"""What happened, as a number: MESSAGE_ID of an entry of the journal, systemd.journal-fields(7).

Made once with ``systemd-id128 new``, never to be changed. ``packaging/oomd.catalog`` explains each.
"""

__all__ = ["MESSAGE_IDS"]

MESSAGE_IDS = {
    # Decisions, by what came of them.
    "kill": "88a0095d517543bab00a05d2c82fd0f4",
    "missed": "a8ed6d9e53a8482ea06a7ad7dca31a56",
    "freed": "73b0ee3aed3b4b3ba68859be24a8ef6e",
    "let_exit": "21930ac093ba4f31b6fbb53129ebd5fc",
    "wait": "a680f64340f74c138111b9784db373d3",
    "panic": "2a7dd0f75de14cfd9985c9d101577c58",
    "none_killable": "9d92f17ff3ae43cca9aef51e7c311c08",
    "paused": "cf3c5dd736ab4a64973a71f7da587a49",
    # What followed, or went before.
    "settled": "4e4713a672214836bc0fc55048f2570a",
    "held_off": "d2223a6121634f15be7924c445130ed3",
    "kernel_killed": "37c66aa7cf07444eb4de152a55ccc61d",
    "warned": "8906510952954b819cdf85043bf3b6f6",
}
