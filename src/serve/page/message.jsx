// One message: what was asked, answered, or given back by a tool.
import { memo } from "preact/compat";
import { AssistantMessage } from "./assistant_message.jsx";
import { ToolMessage } from "./tool_calls.jsx";
import { UserMessage } from "./user_message.jsx";

const KINDS = { user: UserMessage, assistant: AssistantMessage, tool: ToolMessage };
const LABELS = { user: "You", assistant: "Answer", tool: "Tool result" };

export const Message = memo(
    function Message(props) {
        const { role } = props.node;
        const Kind = KINDS[role];
        return (
            <article class={`message ${role}`} aria-label={LABELS[role]}>
                <Kind {...props} />
            </article>
        );
    },
    (before, after) =>
        before.node === after.node &&
        before.isLast === after.isLast &&
        before.versions.length === after.versions.length,
);
