"""An automation that reports failed runs to a webhook.

    VIDEO_R1_WEBHOOK=https://hooks.slack.com/services/… python -m flows.notify

`make ui` does it when the variable is set. The webhook gets `{"text": …}`, which Slack, Mattermost and Rocket.Chat show
as a message. The address often holds a key, so the server keeps it encrypted.
"""

import asyncio
import os

from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.types import SecretDict

VARIABLE = "VIDEO_R1_WEBHOOK"
NAME = "failures"
SUBJECT = "{{ flow.name }}: {{ flow_run.name }} {{ flow_run.state.name }}"
BODY = "{{ flow_run.state.message }}\n{{ flow_run | ui_url }}"
ENDINGS = {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")}


def main() -> None:
    """Creates or updates the automation and its webhook on the server."""
    url = os.environ.get(VARIABLE)
    if not url:
        raise SystemExit(f"{VARIABLE} is not set: set it to the address that failures are posted to")
    asyncio.run(provide(url))


async def provide(url: str) -> None:
    """Saves the webhook and the automation."""
    webhook = CustomWebhookNotificationBlock(
        name=NAME,
        url="{{url}}",
        json_data={"text": "{{subject}}\n{{body}}"},
        headers=None,
        cookies=None,
        secrets=SecretDict({"url": url}),
    )
    action = SendNotification(block_document_id=await webhook.asave(NAME, overwrite=True), subject=SUBJECT, body=BODY)
    trigger = EventTrigger(expect=ENDINGS, posture=Posture.Reactive, threshold=1)
    automation = AutomationCore(
        name=NAME, description="Reports failed runs to a webhook.", trigger=trigger, actions=[action]
    )
    async with get_client() as client:
        existing = await client.read_automations_by_name(NAME)
        if existing:
            await client.update_automation(existing[0].id, automation)
        else:
            await client.create_automation(automation)


if __name__ == "__main__":
    main()
