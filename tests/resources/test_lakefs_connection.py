"""What a server says is said to people as it is."""

import pytest
from lakefs.exceptions import ForbiddenException
from lakefs_sdk.exceptions import ApiException

from resources.lake import LakeError
from resources.lakefs_connection import in_words


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (
            ForbiddenException(403, "Forbidden", '{"message": "the branch is protected"}'),
            "the branch is protected",
        ),
        (ApiException(status=500, reason="Internal"), "code: 500, reason: Internal"),
    ],
)
def test_what_nobody_expects_of_a_server_is_told_in_its_own_words(refusal, told):
    with pytest.raises(LakeError, match=f"lakeFS refuses at http://lake: {told}"), in_words("http://lake"):
        raise refusal
